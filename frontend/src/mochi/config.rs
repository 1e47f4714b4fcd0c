//! The configuration of an `AutoencoderKLMochi`: its fields, what follows from them, and which
//! values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};
use crate::recognition::OfTensors;

/// Groups of every group norm, and channels of every head of attention.
pub(super) const GROUPS: usize = 32;

/// Channels that the encoder makes of one of the video's: itself, and sine and cosine at two
/// frequencies.
pub(super) const FEATURES: usize = 5;

/// Largest number of frames, rows or columns that become one between two levels.
const MOST_EXPANSION: usize = 64;

/// The configuration of the autoencoder. [`Config::default`] is that of the published Mochi 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the features that the encoder makes of a video: five for each of its channels.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// Channels of each level of the encoder, from the highest resolution down.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each level of the decoder, from the highest resolution down.
    pub decoder_block_out_channels: Vec<usize>,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Residual blocks in front of the levels, of each level but the first, and behind all of
    /// them, from the highest resolution down.
    pub layers_per_block: Vec<usize>,
    /// The activation function: `silu`, or `swish`, its other name; in any case of letters.
    pub act_fn: String,
    /// Frames that become one between each level and the next, from the highest resolution down.
    pub temporal_expansions: Vec<usize>,
    /// Rows, and columns, that become one between each level and the next.
    pub spatial_expansions: Vec<usize>,
    /// Whether attention follows the encoder's residual blocks, by the places of
    /// `layers_per_block`.
    pub add_attention_block: Vec<bool>,
    /// Mean of each latent channel.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each latent channel.
    pub latents_std: Option<Vec<f64>>,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 15,
            out_channels: 3,
            encoder_block_out_channels: vec![64, 128, 256, 384],
            decoder_block_out_channels: vec![128, 256, 512, 768],
            latent_channels: 12,
            layers_per_block: vec![3, 3, 4, 6, 3],
            act_fn: "silu".to_owned(),
            temporal_expansions: vec![1, 2, 3],
            spatial_expansions: vec![2, 2, 2],
            add_attention_block: vec![false, true, true, true, true],
            latents_mean: Some(vec![
                -0.06730895953510081,
                -0.038011381506090416,
                -0.07477820912866141,
                -0.05565264470995561,
                0.012767231469026969,
                -0.04703542746246419,
                0.043896967884726704,
                -0.09346305707025976,
                -0.09918314763016893,
                -0.008729793427399178,
                -0.011931556316503654,
                -0.0321993391887285,
            ]),
            latents_std: Some(vec![
                0.9263795028493863,
                0.9248894543193766,
                0.9393059390890617,
                0.959253732819592,
                0.8244560132752793,
                0.917259975397747,
                0.9294154431013696,
                1.3720942357788521,
                0.881393668867029,
                0.9168315692124348,
                0.9185249279345552,
                0.9274757570805041,
            ]),
            scaling_factor: 1.0,
        }
    }
}

/// What happens between a level and the next lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expansion {
    /// Frames that one frame of the lower level becomes.
    pub(super) time: usize,
    /// Rows and columns that one of the lower level becomes.
    pub(super) space: usize,
}

impl Config {
    /// Number of resolutions.
    pub(super) fn levels(&self) -> usize {
        self.decoder_block_out_channels.len()
    }

    /// What happens between a level, from the highest resolution down, and the next lower one.
    pub(super) fn expansion(&self, level: usize) -> Expansion {
        Expansion { time: self.temporal_expansions[level], space: self.spatial_expansions[level] }
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLMochi";
    const OF_TENSORS: OfTensors<Self> = recognition::config;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("encoder_block_out_channels", &mut self.encoder_block_out_channels);
        reader.read("decoder_block_out_channels", &mut self.decoder_block_out_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("temporal_expansions", &mut self.temporal_expansions);
        reader.read("spatial_expansions", &mut self.spatial_expansions);
        reader.read("add_attention_block", &mut self.add_attention_block);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
        reader.read("scaling_factor", &mut self.scaling_factor);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));

        for (field, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
        ] {
            if !(1..=MOST_CHANNELS).contains(&value) {
                report(&[field], format!("expected a whole number from 1 to {MOST_CHANNELS}, found {value}"));
            }
        }
        if !self.in_channels.is_multiple_of(FEATURES) {
            let message = format!(
                "expected a multiple of {FEATURES}, the features that the encoder makes of each channel of a video, found {}",
                self.in_channels
            );
            report(&["in_channels"], message);
        }
        let levels = self.levels();
        if !(1..=MOST_LEVELS).contains(&levels) {
            report(
                &["decoder_block_out_channels"],
                format!("expected a list of 1 to {MOST_LEVELS} numbers, found {levels}"),
            );
        }
        for (field, counts) in [
            ("encoder_block_out_channels", &self.encoder_block_out_channels),
            ("decoder_block_out_channels", &self.decoder_block_out_channels),
        ] {
            if counts.len() != levels {
                let expected = format!("expected {levels} numbers, as decoder_block_out_channels has");
                report(&[field, "decoder_block_out_channels"], format!("{expected}, found {}", counts.len()));
            }
            for (i, &count) in counts.iter().enumerate() {
                if !(1..=MOST_CHANNELS).contains(&count) || !count.is_multiple_of(GROUPS) {
                    let expected =
                        format!("expected multiples of {GROUPS}, the groups of every norm, to {MOST_CHANNELS}");
                    report(&[field], format!("{expected}, found {count} at index {i}"));
                }
            }
        }
        let samplers = levels.saturating_sub(1);
        for (field, factors) in
            [("temporal_expansions", &self.temporal_expansions), ("spatial_expansions", &self.spatial_expansions)]
        {
            if factors.len() != samplers {
                let expected = format!("expected {samplers} numbers, one between each level and the next");
                report(&[field, "decoder_block_out_channels"], format!("{expected}, found {}", factors.len()));
            }
            for (i, factor) in factors.iter().enumerate().filter(|(_, factor)| !(1..=MOST_EXPANSION).contains(*factor))
            {
                let expected = format!("expected whole numbers from 1 to {MOST_EXPANSION}");
                report(&[field], format!("{expected}, found {factor} at index {i}"));
            }
        }
        for (i, &layers) in self.layers_per_block.iter().enumerate().filter(|(_, layers)| **layers > MOST_LAYERS) {
            let expected = format!("expected whole numbers from 0 to {MOST_LAYERS}");
            report(&["layers_per_block"], format!("{expected}, found {layers} at index {i}"));
        }
        // The published list has one number more than there are levels; the reference takes others.
        for (field, places) in
            [("layers_per_block", self.layers_per_block.len()), ("add_attention_block", self.add_attention_block.len())]
        {
            if places < levels.max(1) || places > MOST_LEVELS + 1 {
                let expected = format!("expected a list of {} to {} values", levels.max(1), MOST_LEVELS + 1);
                report(&[field, "decoder_block_out_channels"], format!("{expected}, found {places}"));
            }
        }
        found.extend(config_rules::activation(&self.act_fn));
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found.extend(config_rules::latent_statistics(
            "latent_channels",
            self.latent_channels,
            self.latents_mean.as_deref(),
            self.latents_std.as_deref(),
        ));
        found
    }
}
