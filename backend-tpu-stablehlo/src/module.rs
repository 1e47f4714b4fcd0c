//! What goes between the emitter and the client: a program's text and its signature.
//!
//! The client needs no graph, and the emitter no client. Element types and dimensions are checked
//! against this signature before a run, since plugins accept any buffer with the right number of
//! bytes.

use ir::{Recipe, Role, TensorType};

/// A StableHLO program.
#[derive(Clone, Debug)]
pub struct Module {
    /// The text of the module, with one public function, `main`.
    pub text: String,
    /// The arguments of `main`, in order: inputs, then states, then weights.
    pub arguments: Vec<Argument>,
    /// The results of `main`, in order.
    pub results: Vec<ModuleResult>,
}

/// An argument of `main`.
#[derive(Clone, Debug)]
pub struct Argument {
    /// What it is for, and where it comes from.
    pub role: ArgumentRole,
    /// The input's or the state's name; for a weight, the name of the parameter that it is made of,
    /// or of the module that reads it.
    pub name: String,
    /// Element type and sizes, row-major. The layout says what the axes mean.
    pub ty: TensorType,
    /// The result that is written over the argument's buffer, which the run thereby consumes.
    pub donated_to: Option<usize>,
}

/// What an argument is for.
#[derive(Clone, Debug)]
pub enum ArgumentRole {
    /// Given anew for each run.
    Input,
    /// What the step before left under the same name.
    State,
    /// Made once of parameters, by the recipe, and kept on the device.
    Weight(Recipe),
}

/// A result of `main`.
#[derive(Clone, Debug)]
pub struct ModuleResult {
    /// What it is for.
    pub role: Role,
    /// Its name, unique among results of its role.
    pub name: String,
    /// Element type and sizes, row-major.
    pub ty: TensorType,
}
