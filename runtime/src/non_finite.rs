//! An activation that is not all numbers: where it is, and what the op that made it read.

use std::fmt;

use frontend::Step;
use ir::finite::{Extent, NonFinite};

use crate::checkpoint::Checkpoint;
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
