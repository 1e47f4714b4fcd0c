//! The configuration of an `AutoencoderKLAllegro`: its fields, what follows from them, and which
//! values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::OVERLAP;
use super::recognition;
use crate::autoencoder_kl::Network;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules;
use crate::recognition::OfTensors;

pub(super) const DOWN_BLOCK: &str = "AllegroDownBlock3D";
pub(super) const UP_BLOCK: &str = "AllegroUpBlock3D";

/// The configuration of the autoencoder. [`Config::default`] is that of the published Allegro.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// One `AllegroDownBlock3D` a level, from the highest resolution down.
    pub down_block_types: Vec<String>,
    /// One `AllegroUpBlock3D` a level, from the lowest resolution up.
    pub up_block_types: Vec<String>,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// Whether each level of the encoder, from the highest resolution down, halves the frames.
    pub temporal_downsample_blocks: Vec<bool>,
    /// Whether each level of the decoder, from the lowest resolution up, doubles the frames.
    pub temporal_upsample_blocks: Vec<bool>,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Residual blocks in each down block; up blocks have one more.
    pub layers_per_block: usize,
    /// The activation function: `silu`, or `swish`, its other name; in any case of letters.
    pub act_fn: String,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Frames for one latent frame: what the levels that halve them, and those that double them,
    /// amount to.
    pub temporal_compression_ratio: usize,
    /// Height and width in pixels of a tile.
    pub sample_size: usize,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
    /// Whether pipelines should run the autoencoder in f32.
    pub force_upcast: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.to_owned(); 4],
            up_block_types: vec![UP_BLOCK.to_owned(); 4],
            block_out_channels: vec![128, 256, 512, 512],
            temporal_downsample_blocks: vec![true, true, false, false],
            temporal_upsample_blocks: vec![false, true, true, false],
            latent_channels: 4,
            layers_per_block: 2,
            act_fn: "silu".to_owned(),
            norm_num_groups: 32,
            temporal_compression_ratio: 4,
            sample_size: 320,
            scaling_factor: 0.13,
            force_upcast: true,
        }
    }
}

impl Config {
    /// Number of resolutions, each half the one before.
    pub(super) fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// The network of images whose blocks are those of single frames.
    pub(super) fn of_images(&self) -> Network {
        Network {
            channels: [self.in_channels, self.out_channels],
            encoder_widths: self.block_out_channels.clone(),
            decoder_widths: self.block_out_channels.clone(),
            layers: self.layers_per_block,
            latents: self.latent_channels,
            groups: self.norm_num_groups,
            sample_size: self.sample_size,
            quantizes: [true, true],
            attends: true,
        }
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLAllegro";
    const OF_TENSORS: OfTensors<Self> = recognition::config;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("up_block_types", &mut self.up_block_types);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("temporal_downsample_blocks", &mut self.temporal_downsample_blocks);
        reader.read("temporal_upsample_blocks", &mut self.temporal_upsample_blocks);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("norm_num_groups", &mut self.norm_num_groups);
        reader.read("temporal_compression_ratio", &mut self.temporal_compression_ratio);
        reader.read("sample_size", &mut self.sample_size);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("force_upcast", &mut self.force_upcast);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = self.of_images().violations();
        found.extend(config_rules::levels(
            &self.block_out_channels,
            self.norm_num_groups,
            &[
                ("down_block_types", &self.down_block_types, DOWN_BLOCK),
                ("up_block_types", &self.up_block_types, UP_BLOCK),
            ],
        ));
        for (field, blocks) in [
            ("temporal_downsample_blocks", &self.temporal_downsample_blocks),
            ("temporal_upsample_blocks", &self.temporal_upsample_blocks),
        ] {
            let levels = self.levels();
            if blocks.len() != levels {
                let expected = format!("expected {levels} values, as block_out_channels has {levels} numbers");
                found.push(Violation::new(
                    &[field, "block_out_channels"],
                    format!("{expected}, found {}", blocks.len()),
                ));
                continue;
            }
            // Lists are as short as levels are few.
            let samplers = blocks.iter().filter(|changes| **changes).count();
            let ratio = self.temporal_compression_ratio;
            if u32::try_from(samplers).ok().and_then(|samplers| 2_usize.checked_pow(samplers)) != Some(ratio) {
                let message = format!("expected as many true as factors of 2 make {ratio}, found {samplers}");
                found.push(Violation::new(&[field, "temporal_compression_ratio"], message));
            }
        }
        let [rows, _] = OVERLAP;
        if self.sample_size < 2 * rows {
            let message = format!(
                "expected at least twice the {rows} rows that neighbouring tiles have in common, as the reference adds up \
                 what more than two have; found {}",
                self.sample_size
            );
            found.push(Violation::new(&["sample_size"], message));
        }
        found.extend(config_rules::activation(&self.act_fn));
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reference_fails_with_is_refused_by_name() {
        let one = Config { temporal_downsample_blocks: vec![true, false, false, false], ..Config::default() };
        let few = Config { temporal_upsample_blocks: vec![true, true], ..Config::default() };
        let small = Config { sample_size: 120, ..Config::default() };
        for (config, expected) in [
            (one, "temporal_downsample_blocks: expected as many true as factors of 2 make 4, found 1"),
            (few, "temporal_upsample_blocks: expected 4 values, as block_out_channels has 4 numbers, found 2"),
            (
                small,
                "sample_size: expected at least twice the 120 rows that neighbouring tiles have in common, as the reference \
                 adds up what more than two have; found 120",
            ),
        ] {
            let problems: Vec<_> = config.violations().iter().map(|found| found.problem.to_string()).collect();
            assert_eq!(problems, [expected]);
        }
    }
}
