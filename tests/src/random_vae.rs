//! Random VAE configurations with a step of each: few channels, few pixels, everything odd that a
//! configuration may be.

use std::fmt;

use frontend::cogvideox::{CausalPadding, Config};
use frontend::{Autoencoder, Half, Step, StepKind, Taps, declare};
use ir::Graph;
use proptest::prelude::*;

use crate::random_graph::Dice;

/// The most pixels of a step at full resolution, over its frames: the evaluator is slow.
const MOST_PIXELS: usize = 400;

/// A configuration and a step of it.
#[derive(Clone)]
pub struct RandomStep {
    /// The model.
    pub config: Config,
    /// The step.
    pub step: Step,
    /// Whether every module's output leaves it.
    pub taps: Taps,
}

impl fmt::Debug for RandomStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {:?} of {:?}", self.step, self.taps, self.config)
    }
}

impl RandomStep {
    /// The declared step.
    ///
    /// # Panics
    /// When a valid configuration is refused.
    pub fn graph(&self) -> Graph {
        declare(&self.config, &self.step, &self.taps).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// Any configuration that can be declared with up to three levels, and any step of it.
pub fn steps() -> impl Strategy<Value = RandomStep> {
    (Dice::any(), Dice::any()).prop_map(|(mut model, mut step)| {
        let config = config(&mut model);
        let (step, taps) = self::step(&config, &mut step);
        RandomStep { config, step, taps }
    })
}

fn config(dice: &mut Dice) -> Config {
    let levels = dice.of(&[1, 2, 2, 3]);
    let groups = dice.of(&[2, 1, 3, 4]);
    let published = Config::default();
    let out_channels = dice.of(&[3, 1, 2, 5]);
    let square = dice.once_in(4);
    Config {
        in_channels: dice.of(&[3, 1, 4]),
        out_channels,
        down_block_types: vec![published.down_block_types[0].clone(); levels],
        up_block_types: vec![published.up_block_types[0].clone(); levels],
        block_out_channels: (0..levels).map(|_| groups * dice.of(&[1, 2, 3, 5])).collect(),
        latent_channels: if square { out_channels } else { dice.of(&[2, 1, 4, 7]) },
        layers_per_block: dice.of(&[0, 1, 1, 2]),
        norm_eps: dice.of(&[1e-2, 1e-6]),
        norm_num_groups: groups,
        temporal_compression_ratio: dice.of(&[1.0, 2.0, 4.0, 8.0]),
        use_quant_conv: square && dice.below(2) == 1,
        use_post_quant_conv: square && dice.below(2) == 1,
        pad_mode: dice.of(&[CausalPadding::First, CausalPadding::First, CausalPadding::Replicate]),
        ..published
    }
}

fn step(config: &Config, dice: &mut Dice) -> (Step, Taps) {
    let kind = dice.of(&StepKind::ALL);
    let scale = config.spatial_compression();
    let frames = match kind.half {
        Half::Decoder => dice.of(&[1, 2, 3, 4]),
        Half::Encoder => dice.of(&[1, 2, 4, 8, 9, 5]),
    };
    let mut size = || match kind.half {
        Half::Decoder => 1 + dice.below(4),
        Half::Encoder => scale + dice.below(2 * scale + 2),
    };
    let mut step = Step { kind, batch: 1, frames, height: size(), width: size() };
    step.batch += usize::from(dice.once_in(5));
    let pixels = |step: &Step| match kind.half {
        Half::Decoder => config.decoded_step_frames(step.frames) * step.height * step.width * scale * scale,
        Half::Encoder => step.frames * step.height * step.width,
    } * step.batch;
    let least = if kind.half == Half::Encoder { scale } else { 1 };
    while pixels(&step) > MOST_PIXELS {
        let Step { batch, frames, height, width, .. } = &mut step;
        let sizes = [(batch, 1), (height, least), (width, least), (frames, 1)];
        let Some((size, _)) = sizes.into_iter().find(|(size, least)| **size > *least) else { break };
        *size -= 1;
    }
    (step, if dice.once_in(4) { Taps::All } else { Taps::None })
}
