//! A checkpoint as the source of a network's parameters: whether it has them all, and one as f32.

use std::borrow::Cow;
use std::collections::HashSet;

use backend_cpu::weights::ParameterSource;
use frontend::{Autoencoder, Half, parameters};
use ir::TensorType;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// Names that a message lists before it only counts.
const SHOWN: usize = 3;

/// Checks that `checkpoint` has every tensor of `half` in its shape, as numbers.
///
/// # Errors
/// [`Error::Weights`] with all that is wrong: the first few names of each kind, and how many there are.
pub(crate) fn check(checkpoint: &Checkpoint, model: &dyn Autoencoder, half: Half) -> Result<()> {
    let expected = parameters(model, half)?;
    let (mut missing, mut shapes, mut types) = (vec![], vec![], vec![]);
    for (name, shape) in &expected {
        match checkpoint.tensor(name) {
            None => missing.push(format!("`{name}`")),
            Some(view) if view.shape != shape.as_slice() => {
                shapes.push(format!("`{name}` is {:?}, expected {shape:?}", view.shape));
            }
            Some(view) if !view.is_float() => {
                types.push(format!("`{name}` is {}, expected F32, F16, BF16 or F64", view.dtype));
            }
            Some(_) => {}
        }
    }
    let count = expected.len();
    let mut problems = vec![];
    if missing.len() == count {
        problems.push(format!("none of its {count} tensors is there; the file has {}", checkpoint.contents()));
    } else if !missing.is_empty() {
        problems.push(format!("{} of {count} tensors missing: {}", missing.len(), first_few(&missing)));
    }
    if !shapes.is_empty() {
        problems.push(format!("{} of {count} tensors of another shape: {}", shapes.len(), first_few(&shapes)));
    }
    if !types.is_empty() {
        problems.push(format!("{} of {count} tensors not of floats: {}", types.len(), first_few(&types)));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::Weights { path: checkpoint.path().into(), half, problem: problems.join("; ") })
}

/// A warning about tensors that neither half reads, if there are any.
pub(crate) fn unused(checkpoint: &Checkpoint, model: &dyn Autoencoder) -> Result<Option<String>> {
    let (encoder, decoder) = (parameters(model, Half::Encoder)?, parameters(model, Half::Decoder)?);
    let known: HashSet<&str> = encoder.iter().chain(&decoder).map(|(name, _)| name.as_str()).collect();
    let unused: Vec<_> = checkpoint
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !known.contains(name))
        .map(|n| format!("`{n}`"))
        .collect();
    let warning = format!(
        "{}: {} tensors that config.json does not describe, ignored: {}",
        checkpoint.path().display(),
        unused.len(),
        first_few(&unused)
    );
    Ok((!unused.is_empty()).then_some(warning))
}

/// `a, b, c and 7 others`.
fn first_few(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        others => format!("{shown} and {others} other{}", if others == 1 { "" } else { "s" }),
    }
}

impl ParameterSource for Checkpoint {
    fn parameter(
        &self,
        name: &str,
        ty: &TensorType,
    ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>> {
        match self.tensor(name) {
            Some(view) if view.shape != ty.shape.as_slice() => Err(Box::new(Error::from(files::Error::WrongShape {
                path: self.path().into(),
                tensor: name.into(),
                found: view.shape.into(),
                problem: format!("expected {ty}"),
            }))),
            // One that is not there is reported by this line.
            _ => Ok(Cow::Owned(self.to_f32(name)?)),
        }
    }
}
