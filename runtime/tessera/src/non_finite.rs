//! An activation with a non-finite value: where it is, and what the op that made it read.

use std::fmt;

use frontend::Step;
use ir::TensorType;
use ir::finite::{Extent, NonFinite};

use crate::checkpoint::Checkpoint;
use crate::step_place::StepPlace;

/// What is told of the first non-finite value.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFiniteActivation {
    /// The op, its module and what it read.
    pub found: NonFinite,
    /// The step.
    pub step: Step,
    /// Where the step is in the clip.
    pub place: StepPlace,
    /// Of the parameters that the op read, those that are in the checkpoint.
    pub parameters: Vec<(String, Extent)>,
}

impl NonFiniteActivation {
    /// Looks up what the checkpoint has for the op.
    pub(crate) fn new(found: NonFinite, step: Step, place: StepPlace, checkpoint: &Checkpoint) -> Self {
        let extent = |name: &String| {
            let values = checkpoint.to_f32(name).ok()?;
            Some((name.clone(), Extent::of(values.into_iter().map(f64::from))))
        };
        let parameters = found.parameters.iter().filter_map(extent).collect();
        Self { found, step, place, parameters }
    }

    /// The first output of a module with a non-finite value, and the extent of the one before it;
    /// of a step whose ops cannot be looked at. `modules` are what modules return, in the order
    /// of the network.
    pub(crate) fn of_modules<'a>(
        input: &[f32],
        modules: impl Iterator<Item = (&'a str, &'a TensorType, &'a [f32])>,
        step: Step,
        place: StepPlace,
    ) -> Option<Self> {
        let of = |values: &[f32]| Extent::of(values.iter().map(|value| f64::from(*value)));
        let mut before = ("the step's input".to_owned(), of(input));
        for (module, ty, values) in modules {
            let result = of(values);
            if !result.is_finite() {
                let (path, ty) = (module.into(), ty.clone());
                let found =
                    NonFinite { mnemonic: "the output", path, ty, result, inputs: vec![before], parameters: vec![] };
                return Some(Self { found, step, place, parameters: vec![] });
            }
            before = (format!("the output of `{module}`"), result);
        }
        None
    }
}

impl fmt::Display for NonFiniteActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place.describe(&self.step), self.found)?;
        for (i, (name, extent)) in self.parameters.iter().enumerate() {
            write!(f, "{} `{name}`: {extent}", if i == 0 { "; its weights" } else { "," })?;
        }
        if self.parameters.iter().any(|(_, extent)| !extent.is_finite()) {
            f.write_str("; the checkpoint is damaged")?;
        }
        Ok(())
    }
}
