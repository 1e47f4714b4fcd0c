//! The configuration of a TAEHV: its fields, what follows from them, and which values are allowed.
//!
//! Fields are the arguments of the authors' class, and the numbers that it has built in. Reading
//! them from text is in [`crate::config_json`].

use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules::{MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};
use crate::recognition::{OfTensors, TensorShapes};

/// Largest height and width of a patch.
const MOST_PATCH: usize = 64;

/// The configuration of the autoencoder. [`Config::default`] is that of `taehv` and `taew2_1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video.
    pub image_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Height and width of the patches of pixels that the network takes for one.
    pub patch_size: usize,
    /// Whether each level of the encoder, from the highest resolution down, halves the number of
    /// frames; height and width it halves always.
    pub encoder_time_downscale: Vec<bool>,
    /// Whether each level of the decoder, from the lowest resolution up, doubles the number of
    /// frames; height and width it doubles always.
    pub decoder_time_upscale: Vec<bool>,
    /// Channels of all levels of the encoder.
    pub encoder_channels: usize,
    /// Channels of each level of the decoder, from the lowest resolution up, and of what the last
    /// convolution reads.
    pub decoder_channels: Vec<usize>,
    /// Blocks of each level.
    pub num_blocks: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image_channels: 3,
            latent_channels: 16,
            patch_size: 1,
            encoder_time_downscale: vec![true, true, false],
            decoder_time_upscale: vec![false, true, true],
            encoder_channels: 64,
            decoder_channels: vec![256, 128, 64, 64],
            num_blocks: 3,
        }
    }
}

impl Config {
    /// Number of times that height and width are halved.
    pub(super) fn levels(&self) -> usize {
        self.encoder_time_downscale.len().min(MOST_LEVELS)
    }

    /// Frames that one latent frame decodes to.
    pub(super) fn frames_of_latent(&self) -> usize {
        1 << self.decoder_time_upscale.iter().filter(|doubles| **doubles).count().min(MOST_LEVELS)
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "TAEHV";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("image_channels", &mut self.image_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("patch_size", &mut self.patch_size);
        reader.read("encoder_time_downscale", &mut self.encoder_time_downscale);
        reader.read("decoder_time_upscale", &mut self.decoder_time_upscale);
        reader.read("encoder_channels", &mut self.encoder_channels);
        reader.read("decoder_channels", &mut self.decoder_channels);
        reader.read("num_blocks", &mut self.num_blocks);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        for (field, value, least, most) in [
            ("image_channels", self.image_channels, 1, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, 1, MOST_CHANNELS),
            ("patch_size", self.patch_size, 1, MOST_PATCH),
            ("encoder_channels", self.encoder_channels, 1, MOST_CHANNELS),
            ("num_blocks", self.num_blocks, 0, MOST_LAYERS),
        ] {
            if !(least..=most).contains(&value) {
                report(&[field], format!("expected a whole number from {least} to {most}, found {value}"));
            }
        }
        let [down, up] = [&self.encoder_time_downscale, &self.decoder_time_upscale];
        if !(1..=MOST_LEVELS).contains(&down.len()) {
            let message = format!("expected a list of 1 to {MOST_LEVELS} values, found {}", down.len());
            report(&["encoder_time_downscale"], message);
        }
        let both = ["decoder_time_upscale", "encoder_time_downscale"];
        if up.len() != down.len() {
            let expected = format!("expected {} values, as encoder_time_downscale has", down.len());
            report(&both, format!("{expected}, found {}", up.len()));
        }
        let [halvings, doublings] = [down, up].map(|list| list.iter().filter(|changes| **changes).count());
        if halvings != doublings {
            let expected = format!("expected {halvings} that are true, as in encoder_time_downscale");
            report(&both, format!("{expected}, so that frames come back; found {doublings}"));
        }
        let widths = &self.decoder_channels;
        if widths.len() != up.len() + 1 {
            let expected = format!("expected {} numbers, one more than decoder_time_upscale has", up.len() + 1);
            report(&["decoder_channels", "decoder_time_upscale"], format!("{expected}, found {}", widths.len()));
        }
        for (i, count) in widths.iter().enumerate().filter(|(_, count)| !(1..=MOST_CHANNELS).contains(*count)) {
            let expected = format!("expected whole numbers from 1 to {MOST_CHANNELS}");
            report(&["decoder_channels"], format!("{expected}, found {count} at index {i}"));
        }
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        recognition::config(tensors)
    }
}
