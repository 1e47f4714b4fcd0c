//! The configuration of an `AutoencoderKLHunyuanVideo`: its fields, what follows from them, and
//! which values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS};
use crate::recognition::{OfTensors, TensorShapes};

pub(super) const DOWN_BLOCK: &str = "HunyuanVideoDownBlock3D";
pub(super) const UP_BLOCK: &str = "HunyuanVideoUpBlock3D";

/// The one temporal compression that the reference's decoder has.
const TEMPORAL_COMPRESSION: usize = 4;

/// Levels whose sampler halves the number of frames, for that compression.
const TEMPORAL_LEVELS: usize = 2;

/// Largest spatial compression.
const MOST_SPATIAL_COMPRESSION: usize = 1 << 12;

/// The configuration of the autoencoder. [`Config::default`] is that of the published checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Types of the encoder's blocks, of which there is one.
    pub down_block_types: Vec<String>,
    /// Types of the decoder's blocks, of which there is one.
    pub up_block_types: Vec<String>,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level; the decoder has one more.
    pub layers_per_block: usize,
    /// The activation function of residual blocks: `silu`, or `swish`, its other name.
    pub act_fn: String,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
    /// Pixels for one latent in height and width, of which the power of two below counts.
    pub spatial_compression_ratio: usize,
    /// Frames for one latent frame, the first one aside.
    pub temporal_compression_ratio: usize,
    /// Whether attention stands between the two residual blocks of the lowest resolution.
    pub mid_block_add_attention: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 16,
            down_block_types: vec![DOWN_BLOCK.to_owned(); 4],
            up_block_types: vec![UP_BLOCK.to_owned(); 4],
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            act_fn: "silu".to_owned(),
            norm_num_groups: 32,
            scaling_factor: 0.476_986,
            spatial_compression_ratio: 8,
            temporal_compression_ratio: TEMPORAL_COMPRESSION,
            mid_block_add_attention: true,
        }
    }
}

impl Config {
    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Channels of the lowest level.
    pub(super) fn lowest(&self) -> usize {
        self.block_out_channels[self.levels() - 1]
    }

    /// Levels whose sampler halves or doubles height and width: the first ones of either half.
    pub(super) fn spatial_levels(&self) -> usize {
        let asked = self.spatial_compression_ratio.checked_ilog2().unwrap_or(0);
        self.levels().min(asked as usize)
    }

    /// Frames, rows and columns that the sampler behind a level of either half makes of one, or one
    /// of; `None` where it has no sampler. Both halves count their levels in their own order, from
    /// the first that they run.
    pub(super) fn sampling(&self, level: usize) -> Option<[usize; 3]> {
        let last = self.levels() - 1;
        let time = level != last && level + TEMPORAL_LEVELS >= last;
        let space = level < self.spatial_levels();
        let factor = |doubles| if doubles { 2 } else { 1 };
        (time || space).then(|| [factor(time), factor(space), factor(space)])
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLHunyuanVideo";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("up_block_types", &mut self.up_block_types);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("norm_num_groups", &mut self.norm_num_groups);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("spatial_compression_ratio", &mut self.spatial_compression_ratio);
        reader.read("temporal_compression_ratio", &mut self.temporal_compression_ratio);
        reader.read("mid_block_add_attention", &mut self.mid_block_add_attention);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        for (field, value, most) in [
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
            ("norm_num_groups", self.norm_num_groups, MOST_CHANNELS),
            ("spatial_compression_ratio", self.spatial_compression_ratio, MOST_SPATIAL_COMPRESSION),
        ] {
            if !(1..=most).contains(&value) {
                report(&[field], format!("expected a whole number from 1 to {most}, found {value}"));
            }
        }
        if self.temporal_compression_ratio != TEMPORAL_COMPRESSION {
            let ratio = self.temporal_compression_ratio;
            let why = "the one that the reference's decoder has";
            report(&["temporal_compression_ratio"], format!("expected {TEMPORAL_COMPRESSION}, {why}, found {ratio}"));
        }
        if (1..=TEMPORAL_LEVELS).contains(&self.levels()) {
            let message = format!(
                "expected at least {} numbers, found {}: with fewer levels frames are not halved so often as the \
                 reference's tiles along time count on",
                TEMPORAL_LEVELS + 1,
                self.levels()
            );
            report(&["block_out_channels", "temporal_compression_ratio"], message);
        }
        found.extend(config_rules::levels(
            &self.block_out_channels,
            self.norm_num_groups,
            &[
                ("down_block_types", &self.down_block_types, DOWN_BLOCK),
                ("up_block_types", &self.up_block_types, UP_BLOCK),
            ],
        ));
        found.extend(config_rules::activation(&self.act_fn));
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        recognition::config(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_json::Configured;

    #[test]
    fn samplers_are_those_of_the_reference() {
        let samplings = |levels: usize, ratio: usize| {
            let config =
                Config { block_out_channels: vec![32; levels], spatial_compression_ratio: ratio, ..Config::default() };
            (0..levels).map(|level| config.sampling(level)).collect::<Vec<_>>()
        };
        let (space, both, time) = (Some([1, 2, 2]), Some([2, 2, 2]), Some([2, 1, 1]));
        assert_eq!(samplings(4, 8), [space, both, both, None]);
        assert_eq!(samplings(3, 8), [both, both, space]);
        assert_eq!(samplings(5, 6), [space, space, time, time, None]);
        assert_eq!(samplings(3, 1), [time, time, None]);
    }

    #[test]
    fn what_the_reference_cannot_do_is_refused_by_name() {
        let of = |config: Config| config.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(of(Config::default()), "");
        let eight = of(Config { temporal_compression_ratio: 8, ..Config::default() });
        assert!(eight.contains("expected 4, the one that the reference's decoder has, found 8"), "{eight}");
        let types = |name: &str| vec![name.to_owned(); 2];
        let few = of(Config {
            block_out_channels: vec![32, 32],
            down_block_types: types(DOWN_BLOCK),
            up_block_types: types(UP_BLOCK),
            ..Config::default()
        });
        assert!(few.contains("at least 3 numbers, found 2"), "{few}");
    }
}
