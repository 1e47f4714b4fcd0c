//! One half's parameters in memory, as f32: read from a checkpoint, or made up where only time
//! matters.
//!
//! Decoding does without: it reads each parameter when it packs it. Here reading is over before
//! packing begins, so that the two can be timed apart.

use std::borrow::Cow;
use std::collections::HashMap;

use backend_cpu::weights::ParameterSource;
use frontend::{Autoencoder, Half, parameters};
use ir::{Dims, TensorType};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use tessera::Result;
use tessera::vae::Vae;

/// Parameters by name.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedWeights {
    tensors: HashMap<String, Vec<f32>>,
}

impl LoadedWeights {
    /// All parameters of `half`.
    ///
    /// # Errors
    /// [`tessera::Error::Weights`] if the checkpoint lacks one or has it in another shape.
    pub fn read(vae: &Vae, half: Half) -> Result<LoadedWeights> {
        vae.check_weights(half)?;
        let names = parameters(vae.model(), half)?;
        let read = |(name, _): (String, Dims)| -> Result<(String, Vec<f32>)> {
            let values = vae.checkpoint().to_f32(&name)?;
            Ok((name, values))
        };
        Ok(LoadedWeights { tensors: names.into_iter().map(read).collect::<Result<_>>()? })
    }

    /// Random parameters for `half`, the same for the same configuration: weights small enough that
    /// sums of products keep their size, scales near 1.
    ///
    /// # Errors
    /// [`tessera::Error::Declare`] if the configuration cannot be honoured.
    pub fn random(model: &dyn Autoencoder, half: Half) -> Result<LoadedWeights> {
        let names = parameters(model, half)?;
        let made = names.into_par_iter().enumerate().map(|(number, (name, shape))| {
            let (middle, spread) = match &shape[..] {
                [_] if name.ends_with(".weight") => (1.0, 0.2),
                [_] => (0.0, 0.1),
                [_, inputs @ ..] => (0.0, (3.0 / inputs.iter().product::<usize>() as f32).sqrt()),
                [] => (0.0, 1.0),
            };
            let values = uniform(number as u64, shape.iter().product()).map(|value| middle + spread * value).collect();
            (name, values)
        });
        Ok(LoadedWeights { tensors: made.collect() })
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.tensors.values().map(|tensor| size_of_val(&tensor[..])).sum()
    }
}

/// So many numbers of [-1, 1), the same for the same seed.
pub(crate) fn uniform(seed: u64, count: usize) -> impl Iterator<Item = f32> {
    let mut bits = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(move |_| (bits.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0)
}

impl ParameterSource for LoadedWeights {
    fn parameter(
        &self,
        name: &str,
        _: &TensorType,
    ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>> {
        let tensor = self.tensors.get(name).ok_or_else(|| format!("no parameter `{name}` was loaded"))?;
        Ok(Cow::Borrowed(tensor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera::demo;

    #[test]
    fn random_parameters_are_those_of_the_checkpoint_in_number() {
        let vae = demo::vae().unwrap();
        for half in [Half::Encoder, Half::Decoder] {
            let read = LoadedWeights::read(&vae, half).unwrap();
            let random = LoadedWeights::random(vae.model(), half).unwrap();
            assert_eq!(read.bytes(), random.bytes());
            assert!(read.tensors.iter().all(|(name, tensor)| random.tensors[name].len() == tensor.len()));
            assert_eq!(random, LoadedWeights::random(vae.model(), half).unwrap());
        }
        assert!(uniform(1, 1000).all(|value| (-1.0..1.0).contains(&value)));
    }
}
