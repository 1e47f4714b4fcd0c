//! Arguments that say what a model is given beside its latents: the timestep of a diffusion, noise
//! or a seed of it.

use std::path::PathBuf;

use clap::Args;
use frontend::TIMESTEP;
use tessera::Error;
use tessera::conditions::{Conditions, NoiseSource};

use super::run_files::RunFiles;

#[derive(Args)]
#[command(next_help_heading = "Conditions")]
pub(super) struct ConditionArguments {
    /// For decoders that are told how much noise is left in their latents: the time of the
    /// diffusion, 0 when none is left; one number for all samples, or one for each [default: what
    /// pipelines take]
    #[arg(long, value_name = "T[,T]", value_delimiter = ',', allow_negative_numbers = true)]
    timestep: Vec<f32>,
    /// For decoders that add noise of their own: names it; the same seed, the same noise on every
    /// machine [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// In place of a seed, the noise itself: a file with its planes `noise.0`, `noise.1` ..., [H, W],
    /// in the order in which the reference draws them, as tools/taps.py writes them
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    noise: Option<PathBuf>,
}

impl ConditionArguments {
    /// What is asked for.
    ///
    /// # Errors
    /// When the file of noise cannot be read.
    pub(super) fn conditions(&self, files: &mut RunFiles) -> Result<Conditions, Error> {
        let mut conditions = Conditions::default();
        if !self.timestep.is_empty() {
            conditions = conditions.with_numbers(TIMESTEP, self.timestep.clone());
        }
        if let Some(path) = &self.noise {
            files.reads("the noise", path)?;
            return Ok(conditions.with_noise(NoiseSource::read(path)?));
        }
        Ok(match self.seed {
            Some(seed) => conditions.with_noise(NoiseSource::Seed(seed)),
            None => conditions,
        })
    }
}
