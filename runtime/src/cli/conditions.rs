//! Arguments that say what a model is given beside its latents: the timestep of a diffusion, a seed
//! of noise.

use clap::Args;
use frontend::TIMESTEP;
use tessera::conditions::{Conditions, NoiseSource};

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
}

impl ConditionArguments {
    /// What is asked for.
    pub(super) fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        if !self.timestep.is_empty() {
            conditions = conditions.with_numbers(TIMESTEP, self.timestep.clone());
        }
        match self.seed {
            Some(seed) => conditions.with_noise(NoiseSource::Seed(seed)),
            None => conditions,
        }
    }
}
