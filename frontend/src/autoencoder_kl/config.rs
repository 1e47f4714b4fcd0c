//! The configuration of an `AutoencoderKL`: its fields, what follows from them, and which values
//! are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use crate::config_json::{Configuration, Reader, Violation};

/// Largest number of channels.
const MOST_CHANNELS: usize = 1 << 16;
/// Largest number of levels.
const MOST_LEVELS: usize = 12;
/// Largest number of residual blocks a level.
const MOST_LAYERS: usize = 64;
/// Largest height and width of a sample in pixels.
const MOST_PIXELS: usize = 1 << 20;

const DOWN_BLOCK: &str = "DownEncoderBlock2D";
const UP_BLOCK: &str = "UpDecoderBlock2D";

/// The configuration of the autoencoder. [`Config::default`] is that of a class without any fields,
/// which nobody published.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the image that is encoded.
    pub in_channels: usize,
    /// Channels of the image that is decoded.
    pub out_channels: usize,
    /// One `DownEncoderBlock2D` a level, from the highest resolution down.
    pub down_block_types: Vec<String>,
    /// One `UpDecoderBlock2D` a level, from the lowest resolution up.
    pub up_block_types: Vec<String>,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each down block; up blocks have one more.
    pub layers_per_block: usize,
    /// The activation function: `silu`, or `swish`, its other name; in any case of letters.
    pub act_fn: String,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Height and width in pixels of the images that the model was trained on, and of its tiles.
    pub sample_size: usize,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
    /// Subtracted from latents before they are scaled.
    pub shift_factor: Option<f64>,
    /// Mean of each latent channel.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each latent channel.
    pub latents_std: Option<Vec<f64>>,
    /// Whether pipelines should run the autoencoder in f32.
    pub force_upcast: bool,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether attention stands between the two residual blocks of the lowest resolution.
    pub mid_block_add_attention: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.to_owned()],
            up_block_types: vec![UP_BLOCK.to_owned()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".to_owned(),
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl Config {
    /// Number of resolutions, each half the one before.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Channels of the lowest resolution.
    pub(super) fn lowest(&self) -> usize {
        self.block_out_channels[self.levels() - 1]
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKL";

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("up_block_types", &mut self.up_block_types);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("norm_num_groups", &mut self.norm_num_groups);
        reader.read("sample_size", &mut self.sample_size);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("shift_factor", &mut self.shift_factor);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
        reader.read("force_upcast", &mut self.force_upcast);
        reader.read("use_quant_conv", &mut self.use_quant_conv);
        reader.read("use_post_quant_conv", &mut self.use_post_quant_conv);
        reader.read("mid_block_add_attention", &mut self.mid_block_add_attention);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));

        for (field, value, most) in [
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("norm_num_groups", self.norm_num_groups, MOST_CHANNELS),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
            ("sample_size", self.sample_size, MOST_PIXELS),
        ] {
            if !(1..=most).contains(&value) {
                report(&[field], format!("expected a whole number from 1 to {most}, found {value}"));
            }
        }

        let levels = self.levels();
        if !(1..=MOST_LEVELS).contains(&levels) {
            report(&["block_out_channels"], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {levels}"));
        }
        for (i, &channels) in self.block_out_channels.iter().enumerate() {
            if !(1..=MOST_CHANNELS).contains(&channels) {
                let expected = format!("expected whole numbers from 1 to {MOST_CHANNELS}");
                report(&["block_out_channels"], format!("{expected}, found {channels} at index {i}"));
            } else if self.norm_num_groups > 0 && !channels.is_multiple_of(self.norm_num_groups) {
                let message = format!(
                    "expected a divisor of every channel count, but {} groups do not divide block_out_channels[{i}] = \
                     {channels}",
                    self.norm_num_groups
                );
                report(&["norm_num_groups", "block_out_channels"], message);
            }
        }
        for (field, types, only) in [
            ("down_block_types", &self.down_block_types, DOWN_BLOCK),
            ("up_block_types", &self.up_block_types, UP_BLOCK),
        ] {
            for (i, found) in types.iter().enumerate().filter(|(_, found)| *found != only) {
                report(&[field], format!("expected \"{only}\" everywhere, found {found:?} at index {i}"));
            }
            if types.len() != levels {
                let found = types.len();
                let message =
                    format!("expected {levels} types, as block_out_channels has {levels} numbers, found {found}");
                report(&[field, "block_out_channels"], message);
            }
        }
        if !["silu", "swish"].contains(&self.act_fn.to_lowercase().as_str()) {
            report(&["act_fn"], format!("expected \"silu\" or its other name \"swish\", found {:?}", self.act_fn));
        }

        if !(self.scaling_factor.is_finite() && self.scaling_factor != 0.0) {
            let message = format!("expected a finite number other than 0, found {:?}", self.scaling_factor);
            report(&["scaling_factor"], message);
        }
        if let Some(shift) = self.shift_factor.filter(|shift| !shift.is_finite()) {
            report(&["shift_factor"], format!("expected a finite number or null, found {shift:?}"));
        }
        for (field, values) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            let Some(values) = values else { continue };
            let channels = self.latent_channels;
            if values.len() != channels {
                let message = format!("expected {channels} numbers, one a latent channel, found {}", values.len());
                report(&[field, "latent_channels"], message);
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
