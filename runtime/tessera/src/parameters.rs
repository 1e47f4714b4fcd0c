//! What a configuration expects of a checkpoint, and the checkpoint as the source of a network's
//! parameters, as f32.

use std::borrow::Cow;
use std::sync::Arc;

use backend_cpu::weights::ParameterSource;
use frontend::{Autoencoder, Half, LatentScaling};
use ir::{Dims, TensorType};
use weights::{Checkpoint, Dialect, ExpectedHalf};

use crate::error::{Error, Result};

/// The tensors of one half.
///
/// # Errors
/// [`Error::Declare`] if the configuration cannot be honoured.
pub(crate) fn expected(model: &dyn Autoencoder, half: Half) -> Result<ExpectedHalf> {
    Ok(ExpectedHalf::new(half.to_string(), frontend::parameters(model, half)?))
}

/// All tensors of a model's checkpoint: both halves and, if there are any, the statistics of latents.
///
/// # Errors
/// As [`expected`].
pub(crate) fn all(model: &dyn Autoencoder) -> Result<Vec<ExpectedHalf>> {
    let halves = [expected(model, Half::Encoder)?, expected(model, Half::Decoder)?];
    Ok(halves.into_iter().chain(statistics(model)).collect())
}

/// The tensors that hold statistics of the latents, if the model has any.
fn statistics(model: &dyn Autoencoder) -> Option<ExpectedHalf> {
    let patch = model.latent_scaling().patch;
    let shape = Dims::from_slice(&[model.channels().latents * patch * patch]);
    let names = model.stored_statistics()?.names();
    Some(ExpectedHalf::new("latent scaling", names.map(|name| (name.to_owned(), shape.clone())).into()))
}

/// The numbers by which pipelines scale the model's latents, those of the checkpoint among them.
///
/// # Errors
/// [`weights::Error::NotTheModel`] if they are not in it; [`Error::Scaling`] if they make no sense.
pub(crate) fn scaling(model: &dyn Autoencoder, checkpoint: &Checkpoint) -> Result<LatentScaling> {
    let scaling = model.latent_scaling();
    let (Some(stored), Some(expected)) = (model.stored_statistics(), statistics(model)) else { return Ok(scaling) };
    checkpoint.check(&expected)?;
    let [mean, spread] = stored.names();
    Ok(stored.in_scaling(scaling, &checkpoint.to_f32(mean)?, &checkpoint.to_f32(spread)?)?)
}

/// The other spellings in which checkpoints of the model come.
pub(crate) fn dialects(model: &dyn Autoencoder) -> Vec<Dialect> {
    model.dialects().into_iter().map(|dialect| Dialect::new(dialect.name, dialect.translate)).collect()
}

/// One parameter's elements.
///
/// # Errors
/// [`files::Error::MissingTensor`], [`files::Error::WrongShape`], [`files::Error::WrongDtype`].
pub(crate) fn read<'a>(checkpoint: &'a Checkpoint, name: &str, ty: &TensorType) -> Result<Cow<'a, [f32]>> {
    match checkpoint.tensor(name) {
        Some(view) if view.shape != ty.shape.as_slice() => Err(Error::from(files::Error::WrongShape {
            path: checkpoint.path().into(),
            tensor: name.into(),
            found: view.shape.into(),
            problem: format!("expected {ty}"),
        })),
        // One that is not there is reported by this line.
        _ => Ok(checkpoint.f32s(name)?),
    }
}

/// A checkpoint for native code: each parameter is read when it is packed, and its part of the
/// file let go then. Its errors are [`Error`].
pub(crate) struct Parameters(pub(crate) Arc<Checkpoint>);

impl ParameterSource for Parameters {
    fn parameter(
        &self,
        name: &str,
        ty: &TensorType,
    ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(read(&self.0, name, ty)?)
    }

    fn release(&self, name: &str) {
        self.0.release(name);
    }
}
