//! An activation that is not all numbers: where it is, and what the op that made it read.

use std::fmt;

use frontend::Step;
use ir::TensorType;
use ir::finite::{Extent, NonFinite};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::inspection::named;
use crate::observer::StepPlace;

/// What is told of the first value that is not a number.
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
}

/// Looks at what modules return, in the order of the network, of a program whose ops cannot be looked at.
///
/// # Errors
/// [`Error::NonFiniteActivation`] for the first that is not all numbers, with the extent of the one before it.
pub(crate) fn check_modules<'a>(
    input: &[f32],
    modules: impl Iterator<Item = (&'a str, &'a TensorType, &'a [f32])>,
    step: &Step,
    place: StepPlace,
) -> Result<()> {
    let of = |values: &[f32]| Extent::of(values.iter().map(|value| f64::from(*value)));
    let mut before = ("the step's input".to_owned(), of(input));
    for (module, ty, values) in modules {
        let result = of(values);
        if !result.is_finite() {
            let (path, ty) = (module.into(), ty.clone());
            let found =
                NonFinite { mnemonic: "the output", path, ty, result, inputs: vec![before], parameters: vec![] };
            let found = NonFiniteActivation { found, step: *step, place, parameters: vec![] };
            return Err(Error::NonFiniteActivation(Box::new(found)));
        }
        before = (format!("the output of `{module}`"), result);
    }
    Ok(())
}

impl fmt::Display for NonFiniteActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", named(&self.step, self.place), self.found)?;
        for (i, (name, extent)) in self.parameters.iter().enumerate() {
            write!(f, "{} `{name}`: {extent}", if i == 0 { "; its weights" } else { "," })?;
        }
        if self.parameters.iter().any(|(_, extent)| !extent.is_finite()) {
            f.write_str("; the checkpoint is damaged")?;
        }
        Ok(())
    }
}
