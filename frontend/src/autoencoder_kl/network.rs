//! The network of this family, whatever class describes it: its sizes, what follows from them, and
//! the steps of both halves. Reading a configuration is each class's own.

use ir::{BuildError, Value};

use super::{decoder, encoder, other_names};
use crate::autoencoder::{Channels, Dialect, Medium};
use crate::config_json::Violation;
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_PIXELS};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::network;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

/// The one type of blocks of the encoder's levels.
pub(crate) const DOWN_BLOCK: &str = "DownEncoderBlock2D";
/// The one type of blocks of the decoder's levels.
pub(crate) const UP_BLOCK: &str = "UpDecoderBlock2D";

/// The share of a tile that the next one covers too (`tile_overlap_factor`).
const OVERLAP: f64 = 0.25;

/// What the networks of the family differ in.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Channels of the image that is encoded, and of the one that is decoded.
    pub(crate) channels: [usize; 2],
    /// Channels of each level of the encoder, from the highest resolution down.
    pub(crate) encoder_widths: Vec<usize>,
    /// Channels of each level of the decoder, from the highest resolution down.
    pub(crate) decoder_widths: Vec<usize>,
    /// Residual blocks in each level of the encoder; the decoder has one more.
    pub(crate) layers: usize,
    /// Channels of the latents.
    pub(crate) latents: usize,
    /// Groups of every group norm.
    pub(crate) groups: usize,
    /// Height and width in pixels of the images that the model was trained on, and of its tiles.
    pub(crate) sample_size: usize,
    /// Whether a 1x1 convolution follows the encoder, and whether one precedes the decoder.
    pub(crate) quantizes: [bool; 2],
    /// Whether attention stands between the two residual blocks of the lowest resolution.
    pub(crate) attends: bool,
}

impl Network {
    /// Number of resolutions, each half the one before.
    pub(crate) fn levels(&self) -> usize {
        self.encoder_widths.len()
    }

    /// Sizes that no configuration of the family may have.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let [input, output] = self.channels;
        let ranges = [
            ("in_channels", input, MOST_CHANNELS),
            ("out_channels", output, MOST_CHANNELS),
            ("latent_channels", self.latents, MOST_CHANNELS),
            ("norm_num_groups", self.groups, MOST_CHANNELS),
            ("layers_per_block", self.layers, MOST_LAYERS),
            ("sample_size", self.sample_size, MOST_PIXELS),
        ];
        let outside = ranges.into_iter().filter(|(_, value, most)| !(1..=*most).contains(value));
        let message = |value, most| format!("expected a whole number from 1 to {most}, found {value}");
        outside.map(|(field, value, most)| Violation::new(&[field], message(value, most))).collect()
    }
}

impl network::Network for Network {
    fn medium(&self) -> Medium {
        Medium::Image
    }

    fn channels(&self) -> Channels {
        let [input, output] = self.channels;
        Channels { input, output, latents: self.latents, moments: 2 * self.latents }
    }

    fn spatial_compression(&self) -> usize {
        config_rules::compression(self.levels())
    }

    fn temporal_compression(&self) -> usize {
        1
    }

    fn training_size(&self) -> [usize; 2] {
        [self.sample_size; 2]
    }

    fn frame_steps(&self, _half: Half) -> FrameSteps {
        FrameSteps::Whole
    }

    fn result_frames(&self, _kind: StepKind, frames: usize) -> usize {
        frames
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => decoder::decode(self, d, input),
            Half::Encoder => encoder::encode(self, d, input),
        }
    }

    /// `enable_tiling` has no arguments: a tile is as large as the images that the model was
    /// trained on.
    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([self.sample_size; 2], [OVERLAP; 2])
    }

    fn dialects(&self) -> Vec<Dialect> {
        let levels = self.levels();
        vec![
            Dialect::new("LDM", move |name| other_names::of_ldm(levels, name)),
            Dialect::new("older diffusers", other_names::of_older_diffusers),
        ]
    }
}
