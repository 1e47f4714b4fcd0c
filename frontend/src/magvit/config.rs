//! The configuration of an `AutoencoderKLMagvit`: its fields, what follows from them, and which
//! values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS};
use crate::recognition::OfTensors;

pub(super) const SPACE_DOWN: &str = "SpatialDownBlock3D";
pub(super) const TIME_DOWN: &str = "SpatialTemporalDownBlock3D";
pub(super) const SPACE_UP: &str = "SpatialUpBlock3D";
pub(super) const TIME_UP: &str = "SpatialTemporalUpBlock3D";

/// Samplers that halve the frames, at most: the reference encodes 4 at a time.
pub(super) const MOST_TIME_SAMPLERS: usize = 2;

/// The configuration of the autoencoder. [`Config::default`] is that of the published EasyAnimate 5.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// One a level, from the highest resolution down: whether its sampler halves height and width
    /// alone, or the frames too. The last level has none.
    pub down_block_types: Vec<String>,
    /// One a level, from the lowest resolution up.
    pub up_block_types: Vec<String>,
    /// Residual blocks in each down block, and between the halves' levels and the latents; up blocks
    /// have one more.
    pub layers_per_block: usize,
    /// The activation function: `silu`, or `swish`, its other name; in any case of letters.
    pub act_fn: String,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
    /// Whether norms are of each frame, and frames are doubled by repeating them; else norms are of
    /// a step's frames, and frames between are means of their neighbours.
    pub spatial_group_norm: bool,
}

impl Default for Config {
    fn default() -> Self {
        let types = |space: &str, time: &str| [space, time, time, time].map(str::to_owned).to_vec();
        Self {
            in_channels: 3,
            latent_channels: 16,
            out_channels: 3,
            block_out_channels: vec![128, 256, 512, 512],
            down_block_types: types(SPACE_DOWN, TIME_DOWN),
            up_block_types: types(SPACE_UP, TIME_UP),
            layers_per_block: 2,
            act_fn: "silu".to_owned(),
            norm_num_groups: 32,
            scaling_factor: 0.7125,
            spatial_group_norm: true,
        }
    }
}

impl Config {
    /// Number of resolutions, each half the one before.
    pub(super) fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Whether the encoder's sampler behind this level, from the highest resolution down, halves
    /// the frames; `None` where there is no sampler.
    pub(super) fn halves_time(&self, level: usize) -> Option<bool> {
        (level + 1 < self.levels()).then(|| self.down_block_types.get(level).is_some_and(|kind| kind == TIME_DOWN))
    }

    /// Whether the decoder's sampler behind this level, from the lowest resolution up, doubles the
    /// frames; `None` where there is no sampler.
    pub(super) fn doubles_time(&self, level: usize) -> Option<bool> {
        (level + 1 < self.levels()).then(|| self.up_block_types.get(level).is_some_and(|kind| kind == TIME_UP))
    }

    /// Samplers of the encoder, and of the decoder, that change the number of frames.
    pub(super) fn time_samplers(&self) -> [usize; 2] {
        let levels = 0..self.levels();
        let down = levels.clone().filter(|level| self.halves_time(*level) == Some(true)).count();
        [down, levels.filter(|level| self.doubles_time(*level) == Some(true)).count()]
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLMagvit";
    const OF_TENSORS: OfTensors<Self> = recognition::config;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("up_block_types", &mut self.up_block_types);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("norm_num_groups", &mut self.norm_num_groups);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("spatial_group_norm", &mut self.spatial_group_norm);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (field, value, most) in [
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("norm_num_groups", self.norm_num_groups, MOST_CHANNELS),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
        ] {
            if !(1..=most).contains(&value) {
                let message = format!("expected a whole number from 1 to {most}, found {value}");
                found.push(Violation::new(&[field], message));
            }
        }
        found.extend(config_rules::levels(&self.block_out_channels, self.norm_num_groups, &[]));
        for (field, types, known) in [
            ("down_block_types", &self.down_block_types, [SPACE_DOWN, TIME_DOWN]),
            ("up_block_types", &self.up_block_types, [SPACE_UP, TIME_UP]),
        ] {
            for (i, kind) in types.iter().enumerate().filter(|(_, kind)| !known.contains(&kind.as_str())) {
                let message = format!("expected \"{}\" or \"{}\", found {kind:?} at index {i}", known[0], known[1]);
                found.push(Violation::new(&[field], message));
            }
            let levels = self.levels();
            if types.len() != levels {
                let expected = format!("expected {levels} types, as block_out_channels has {levels} numbers");
                let message = format!("{expected}, found {}", types.len());
                found.push(Violation::new(&[field, "block_out_channels"], message));
            }
        }
        let [down, up] = self.time_samplers();
        let fields = ["up_block_types", "down_block_types", "block_out_channels"];
        if down != up {
            let message = format!(
                "expected as many samplers of frames as down_block_types has, {down}, found {up}; the last block of each \
                 has none"
            );
            found.push(Violation::new(&fields, message));
        } else if down > MOST_TIME_SAMPLERS {
            let message = format!(
                "expected at most {MOST_TIME_SAMPLERS} samplers of frames, found {down}: the reference encodes 4 frames at a \
                 time, of which more of them leave none"
            );
            found.push(Violation::new(&fields, message));
        }
        found.extend(config_rules::activation(&self.act_fn));
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found
    }
}
