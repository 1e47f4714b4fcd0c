//! The configuration of an `AutoencoderTiny`: its fields, what follows from them, and which values
//! are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};
use crate::layers::Function;
use crate::recognition::{OfTensors, TensorShapes};

/// Largest factor of one resize.
const MOST_RESIZE: usize = 64;

/// The configuration of the autoencoder. [`Config::default`] is that of TAESD.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the image that is encoded.
    pub in_channels: usize,
    /// Channels of the image that is decoded.
    pub out_channels: usize,
    /// Channels of each stage of the encoder, which all have as many.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each stage of the decoder, which all have as many.
    pub decoder_block_out_channels: Vec<usize>,
    /// The activation function within blocks: `relu`, or `silu` with its other name `swish`; in any
    /// case of letters.
    pub act_fn: String,
    /// How the decoder resizes: `nearest`.
    pub upsample_fn: String,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// How many times as high and wide the decoder makes an image between two stages.
    pub upsampling_scaling_factor: usize,
    /// Blocks in each stage of the encoder.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks in each stage of the decoder.
    pub num_decoder_blocks: Vec<usize>,
    /// Of latents as bytes alone: the largest of them.
    pub latent_magnitude: f64,
    /// Of latents as bytes alone: where 0 is.
    pub latent_shift: f64,
    /// Whether pipelines should run the autoencoder in f32.
    pub force_upcast: bool,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
    /// Subtracted from latents before they are scaled.
    pub shift_factor: f64,
    /// What diffusers writes beside `decoder_block_out_channels`; nothing reads it.
    pub block_out_channels: Option<Vec<usize>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            act_fn: "relu".to_owned(),
            upsample_fn: "nearest".to_owned(),
            latent_channels: 4,
            upsampling_scaling_factor: 2,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            force_upcast: false,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            block_out_channels: None,
        }
    }
}

impl Config {
    /// The activation function; that of a valid configuration is known.
    pub(super) fn function(&self) -> Function {
        Function::named(&self.act_fn).unwrap_or(Function::Relu)
    }

    /// Pixels for one latent: the encoder's stages halve height and width.
    pub(super) fn compression(&self) -> usize {
        config_rules::compression(self.num_encoder_blocks.len())
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderTiny";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("encoder_block_out_channels", &mut self.encoder_block_out_channels);
        reader.read("decoder_block_out_channels", &mut self.decoder_block_out_channels);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("upsample_fn", &mut self.upsample_fn);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("upsampling_scaling_factor", &mut self.upsampling_scaling_factor);
        reader.read("num_encoder_blocks", &mut self.num_encoder_blocks);
        reader.read("num_decoder_blocks", &mut self.num_decoder_blocks);
        reader.read("latent_magnitude", &mut self.latent_magnitude);
        reader.read("latent_shift", &mut self.latent_shift);
        reader.read("force_upcast", &mut self.force_upcast);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("shift_factor", &mut self.shift_factor);
        reader.read("block_out_channels", &mut self.block_out_channels);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        for (field, value, most) in [
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("upsampling_scaling_factor", self.upsampling_scaling_factor, MOST_RESIZE),
        ] {
            if !(1..=most).contains(&value) {
                report(&[field], format!("expected a whole number from 1 to {most}, found {value}"));
            }
        }
        let halves = [
            ["encoder_block_out_channels", "num_encoder_blocks"],
            ["decoder_block_out_channels", "num_decoder_blocks"],
        ];
        let values = [
            [&self.encoder_block_out_channels, &self.num_encoder_blocks],
            [&self.decoder_block_out_channels, &self.num_decoder_blocks],
        ];
        for ([width_field, block_field], [widths, blocks]) in halves.into_iter().zip(values) {
            if !(1..=MOST_LEVELS).contains(&widths.len()) {
                let found = widths.len();
                report(&[width_field], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {found}"));
            }
            if blocks.len() != widths.len() {
                let expected = format!("expected {} numbers, as {width_field} has", widths.len());
                report(&[block_field, width_field], format!("{expected}, found {}", blocks.len()));
            }
            if let Some(many) = blocks.iter().find(|&&blocks| blocks > MOST_LAYERS) {
                report(&[block_field], format!("expected whole numbers up to {MOST_LAYERS}, found {many}"));
            }
            match widths[..] {
                [first, ..] if !(1..=MOST_CHANNELS).contains(&first) => {
                    let expected = format!("expected whole numbers from 1 to {MOST_CHANNELS}");
                    report(&[width_field], format!("{expected}, found {first}"));
                }
                [first, ..] if widths.iter().any(|&width| width != first) => {
                    let expected = "expected the same number everywhere, since nothing between stages changes it";
                    report(&[width_field], format!("{expected}, found {widths:?}"));
                }
                _ => {}
            }
        }
        if Function::named(&self.act_fn).is_none() {
            let message = format!("expected {}, found {:?}", Function::KNOWN, self.act_fn);
            report(&["act_fn"], message);
        }
        if self.upsample_fn != "nearest" {
            report(&["upsample_fn"], format!("expected \"nearest\", found {:?}", self.upsample_fn));
        }
        let resizes = self.num_decoder_blocks.len().saturating_sub(1) as u32;
        let enlarges = self.upsampling_scaling_factor.checked_pow(resizes);
        if enlarges != Some(self.compression()) {
            let message = format!(
                "expected what makes an image as large as it was: the encoder divides height and width by {}, {resizes} times {} \
                 multiplies them by {}",
                self.compression(),
                self.upsampling_scaling_factor,
                enlarges.map_or("more than can be counted".to_owned(), |times| times.to_string()),
            );
            report(&["upsampling_scaling_factor", "num_decoder_blocks", "num_encoder_blocks"], message);
        }
        found.extend(config_rules::scaling(self.scaling_factor, Some(self.shift_factor)));
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        recognition::config(tensors)
    }
}
