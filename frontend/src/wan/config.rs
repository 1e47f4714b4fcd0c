//! The configuration of an `AutoencoderKLWan`: its fields, what follows from them, and which values
//! are allowed.
//!
//! Fields and defaults are those of diffusers' class, spelling included. Reading them from text is
//! in [`crate::config_json`].

use crate::config_json::{Configuration, Reader, Violation};

/// Largest number of channels.
const MOST_CHANNELS: usize = 1 << 16;
/// Largest number of levels.
const MOST_LEVELS: usize = 12;
/// Largest number of residual blocks a level.
const MOST_LAYERS: usize = 64;

/// The configuration of the autoencoder. [`Config::default`] is that of the checkpoints of Wan 2.1.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the first level.
    pub base_dim: usize,
    /// The same of the decoder, where it has others.
    pub decoder_base_dim: Option<usize>,
    /// Channels of the latents.
    pub z_dim: usize,
    /// Channels of each level, as multiples of the first's, from the highest resolution down.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of each level; the decoder has one more.
    pub num_res_blocks: usize,
    /// Scales of the encoder, 1 the highest and each level half the one before, whose residual
    /// blocks attention follows.
    pub attn_scales: Vec<f64>,
    /// Whether the sampler behind each level but the last halves the number of frames.
    pub temperal_downsample: Vec<bool>,
    /// Of training alone.
    pub dropout: f64,
    /// Mean of each latent channel.
    pub latents_mean: Vec<f64>,
    /// Standard deviation of each latent channel.
    pub latents_std: Vec<f64>,
    /// Whether blocks have shortcuts without weights around them, as in Wan 2.2.
    pub is_residual: bool,
    /// Channels of what the encoder's first convolution reads: those of a patch.
    pub in_channels: usize,
    /// Channels of what the decoder's last convolution gives: those of a patch.
    pub out_channels: usize,
    /// Height and width of the patches of pixels that the network takes for one.
    pub patch_size: Option<usize>,
    /// Of pipelines alone: frames for one latent frame.
    pub scale_factor_temporal: Option<usize>,
    /// Of pipelines alone: pixels for one latent.
    pub scale_factor_spatial: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_dim: 96,
            decoder_base_dim: None,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_scales: vec![],
            temperal_downsample: vec![false, true, true],
            dropout: 0.0,
            latents_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
                -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latents_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
                1.1253, 2.8251, 1.9160,
            ],
            is_residual: false,
            in_channels: 3,
            out_channels: 3,
            patch_size: None,
            scale_factor_temporal: Some(4),
            scale_factor_spatial: Some(8),
        }
    }
}

impl Config {
    /// Number of resolutions, each half the one before.
    pub fn levels(&self) -> usize {
        self.dim_mult.len()
    }

    /// Height and width of a patch of pixels.
    pub(super) fn patch(&self) -> usize {
        self.patch_size.unwrap_or(1)
    }

    /// Samplers that change the number of frames.
    pub fn temporal_stages(&self) -> usize {
        self.temperal_downsample.iter().filter(|halves| **halves).count()
    }

    /// Whether the encoder's sampler behind this level halves the number of frames.
    pub(super) fn halves_time(&self, level: usize) -> bool {
        self.temperal_downsample[level]
    }

    /// Whether the decoder's sampler behind this level, from the lowest resolution up, doubles the
    /// number of frames.
    pub(super) fn doubles_time(&self, level: usize) -> bool {
        self.temperal_downsample[self.temperal_downsample.len() - 1 - level]
    }

    /// Channels of each level of the encoder, from the highest resolution down.
    pub(super) fn encoder_widths(&self) -> Vec<usize> {
        self.dim_mult.iter().map(|multiple| self.base_dim * multiple).collect()
    }

    /// Channels of each level of the decoder, from the lowest resolution up.
    pub(super) fn decoder_widths(&self) -> Vec<usize> {
        let base = self.decoder_base_dim.unwrap_or(self.base_dim);
        self.dim_mult.iter().rev().map(|multiple| base * multiple).collect()
    }

    /// Whether attention follows the encoder's residual blocks of this level.
    pub(super) fn attends(&self, level: usize) -> bool {
        let scale = 0.5_f64.powi(level as i32);
        self.attn_scales.contains(&scale)
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLWan";

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("base_dim", &mut self.base_dim);
        reader.read("decoder_base_dim", &mut self.decoder_base_dim);
        reader.read("z_dim", &mut self.z_dim);
        reader.read("dim_mult", &mut self.dim_mult);
        reader.read("num_res_blocks", &mut self.num_res_blocks);
        reader.read("attn_scales", &mut self.attn_scales);
        reader.read("temperal_downsample", &mut self.temperal_downsample);
        reader.read("dropout", &mut self.dropout);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
        reader.read("is_residual", &mut self.is_residual);
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("patch_size", &mut self.patch_size);
        reader.read("scale_factor_temporal", &mut self.scale_factor_temporal);
        reader.read("scale_factor_spatial", &mut self.scale_factor_spatial);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        let from_one = |most: usize, value: usize| format!("expected a whole number from 1 to {most}, found {value}");

        let patch = self.patch();
        for (field, value) in [
            ("base_dim", self.base_dim),
            ("decoder_base_dim", self.decoder_base_dim.unwrap_or(1)),
            ("z_dim", self.z_dim),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
        ] {
            if !(1..=MOST_CHANNELS).contains(&value) {
                report(&[field], from_one(MOST_CHANNELS, value));
            }
        }
        if !(1..=64).contains(&patch) {
            report(&["patch_size"], from_one(64, patch));
        } else {
            for (field, value) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
                if !value.is_multiple_of(patch * patch) {
                    let message =
                        format!("expected a multiple of {}, the pixels of a patch, found {value}", patch * patch);
                    report(&[field, "patch_size"], message);
                }
            }
        }
        if self.num_res_blocks > MOST_LAYERS {
            let found = self.num_res_blocks;
            report(&["num_res_blocks"], format!("expected a whole number from 0 to {MOST_LAYERS}, found {found}"));
        }

        let levels = self.levels();
        if !(1..=MOST_LEVELS).contains(&levels) {
            report(&["dim_mult"], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {levels}"));
        }
        for (i, multiple) in self.dim_mult.iter().enumerate() {
            let widest = self.base_dim.max(self.decoder_base_dim.unwrap_or(0)).saturating_mul(*multiple);
            if *multiple == 0 || widest > MOST_CHANNELS {
                let message = format!(
                    "expected channel counts from 1 to {MOST_CHANNELS}, found a multiple of {multiple} at index {i}"
                );
                report(&["dim_mult", "base_dim", "decoder_base_dim"], message);
            }
        }
        let samplers = levels.saturating_sub(1);
        if self.temperal_downsample.len() != samplers {
            let found = self.temperal_downsample.len();
            let message = format!(
                "expected {samplers} values, one for each sampler between the levels of dim_mult, found {found}"
            );
            report(&["temperal_downsample", "dim_mult"], message);
        }
        // A sampler halves the channels that the next level reads.
        if !self.is_residual {
            for (i, width) in self.decoder_widths().iter().enumerate().take(samplers) {
                if !width.is_multiple_of(2) {
                    let message = format!(
                        "expected even channel counts of the decoder's levels but the last, found {width} at level {i}"
                    );
                    report(&["dim_mult", "base_dim", "decoder_base_dim"], message);
                }
            }
        }
        for (field, values) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            if values.len() != self.z_dim {
                let message = format!("expected {} numbers, one a latent channel, found {}", self.z_dim, values.len());
                report(&[field, "z_dim"], message);
            }
            let positive = field == "latents_std";
            for (i, value) in values.iter().enumerate() {
                if !value.is_finite() || (positive && *value <= 0.0) {
                    let kind = if positive { "finite numbers greater than 0" } else { "finite numbers" };
                    report(&[field], format!("expected {kind}, found {value:?} at index {i}"));
                }
            }
        }
        found
    }
}
