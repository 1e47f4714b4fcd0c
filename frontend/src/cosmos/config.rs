//! The configuration of an `AutoencoderKLCosmos`: its fields, what follows from them, and which
//! values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use std::fmt;

use serde_json::Value;

use super::latent_statistics::{DEVIATION, MEAN};
use super::recognition;
use crate::config_json::{Configuration, Field, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};
use crate::recognition::OfTensors;

/// Largest frames, rows and columns of a patch: of larger ones the matrix between a patch and its
/// channels would be most of the network.
const MOST_PATCH: usize = 8;
/// Most values of a patch, over all channels, whose wavelet coefficients are taken: those are made by
/// a matrix of so many rows and columns.
const MOST_COEFFICIENTS: usize = 2048;

/// Largest ratio of compression.
const MOST_COMPRESSION: usize = 4096;

/// Largest resolution.
const MOST_RESOLUTION: usize = 1 << 20;

/// What the values of a patch are as channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PatchType {
    /// Coefficients of Haar's wavelets.
    #[default]
    Haar,
    /// The values.
    Rearrange,
}

impl PatchType {
    /// Every type.
    pub const ALL: [Self; 2] = [Self::Haar, Self::Rearrange];

    /// The value of `patch_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Haar => "haar",
            Self::Rearrange => "rearrange",
        }
    }
}

impl fmt::Display for PatchType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Field for PatchType {
    fn expected() -> String {
        Self::ALL.map(|kind| format!("\"{kind}\"")).join(" or ")
    }

    fn from_json(json: &Value) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| json == kind.name())
    }

    fn to_json(&self) -> Value {
        self.name().into()
    }
}

/// The configuration of the autoencoder. [`Config::default`] is that of the published Cosmos 1.0.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels behind the encoder's first convolution, and of each of its blocks.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each of the decoder's blocks, the last one first, and behind its first
    /// convolution.
    pub decode_block_out_channels: Vec<usize>,
    /// The resolutions whose blocks have attention.
    pub attention_resolutions: Vec<usize>,
    /// The resolution of the video by which blocks are held against them.
    pub resolution: usize,
    /// Residual blocks in each of the encoder's blocks; those of the decoder have one more.
    pub num_layers: usize,
    /// Frames, rows and columns of the patches that the network takes for one.
    pub patch_size: usize,
    /// What the values of a patch are as channels.
    pub patch_type: PatchType,
    /// A factor of the latents. No pipeline reads it.
    pub scaling_factor: f64,
    /// Pixels for one latent, in height as in width, by which samplers are laid out.
    pub spatial_compression_ratio: usize,
    /// Frames for one latent frame, the first one aside, by which samplers are laid out.
    pub temporal_compression_ratio: usize,
    /// Mean of each latent channel at each latent frame, the channel slowest.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each latent channel at each latent frame.
    pub latents_std: Option<Vec<f64>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 16,
            encoder_block_out_channels: vec![128, 256, 512, 512],
            decode_block_out_channels: vec![256, 512, 512, 512],
            attention_resolutions: vec![32],
            resolution: 1024,
            num_layers: 2,
            patch_size: 4,
            patch_type: PatchType::Haar,
            scaling_factor: 1.0,
            spatial_compression_ratio: 8,
            temporal_compression_ratio: 8,
            latents_mean: Some(MEAN.to_vec()),
            latents_std: Some(DEVIATION.to_vec()),
        }
    }
}

/// A block of a half: what it has beside its residual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Channels that it makes.
    pub(super) outputs: usize,
    /// Whether attention follows each of its residual blocks.
    pub(super) attends: bool,
    /// Whether a sampler follows them, which may do nothing.
    pub(super) has_sampler: bool,
    /// Whether the sampler halves or doubles height and width.
    pub(super) resamples_space: bool,
    /// Whether the sampler halves or doubles the frames.
    pub(super) resamples_time: bool,
}

impl Config {
    /// Halvings of a length, by a ratio of compression, that patches do not make.
    fn halvings(&self, ratio: usize) -> usize {
        (ratio.max(1).ilog2() as usize).saturating_sub(self.patch_size.max(1).ilog2() as usize)
    }

    /// The encoder's blocks, from the highest resolution down.
    pub(super) fn down_blocks(&self) -> Vec<Block> {
        let widths = &self.encoder_block_out_channels;
        let last = widths.len().saturating_sub(2);
        let mut resolution = self.resolution / self.patch_size.max(1);
        let block = |(i, &outputs): (usize, &usize)| {
            let attends = self.attention_resolutions.contains(&resolution);
            let has_sampler = i < last;
            if has_sampler {
                resolution /= 2;
            }
            Block {
                outputs,
                attends,
                has_sampler,
                resamples_space: has_sampler && i < self.halvings(self.spatial_compression_ratio),
                resamples_time: has_sampler && i < self.halvings(self.temporal_compression_ratio),
            }
        };
        widths.iter().skip(1).enumerate().map(block).collect()
    }

    /// The decoder's blocks, from the lowest resolution up. Time is doubled by the samplers behind
    /// the first.
    pub(super) fn up_blocks(&self) -> Vec<Block> {
        let widths = &self.decode_block_out_channels;
        let last = widths.len().saturating_sub(2);
        let [in_space, in_time] =
            [self.spatial_compression_ratio, self.temporal_compression_ratio].map(|ratio| self.halvings(ratio));
        let mut resolution = self.resolution / self.patch_size.max(1) / (1 << last.min(MOST_LEVELS));
        let block = |(i, &outputs): (usize, &usize)| {
            let attends = self.attention_resolutions.contains(&resolution);
            let has_sampler = i < last;
            if has_sampler {
                resolution *= 2;
            }
            let resamples_time = has_sampler && 0 < i && i <= in_time;
            let resamples_space = resamples_time || (has_sampler && i < in_space && in_space > in_time);
            Block { outputs, attends, has_sampler, resamples_space, resamples_time }
        };
        widths.iter().rev().skip(1).enumerate().map(block).collect()
    }

    /// Height, and frames, of a sample for one of the latents, as these blocks make them.
    fn compression_by(&self, blocks: &[Block]) -> [usize; 2] {
        let count = |resamples: fn(&Block) -> bool| blocks.iter().filter(|block| resamples(block)).count();
        [count(|block| block.resamples_space), count(|block| block.resamples_time)]
            .map(|halvings| self.patch_size.saturating_mul(1 << halvings.min(MOST_LEVELS)))
    }

    /// Height, and frames, of a sample for one of the latents.
    pub(super) fn compression(&self) -> [usize; 2] {
        self.compression_by(&self.down_blocks())
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLCosmos";
    const OF_TENSORS: OfTensors<Self> = recognition::config;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("encoder_block_out_channels", &mut self.encoder_block_out_channels);
        reader.read("decode_block_out_channels", &mut self.decode_block_out_channels);
        reader.read("attention_resolutions", &mut self.attention_resolutions);
        reader.read("resolution", &mut self.resolution);
        reader.read("num_layers", &mut self.num_layers);
        reader.read("patch_size", &mut self.patch_size);
        reader.read("patch_type", &mut self.patch_type);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("spatial_compression_ratio", &mut self.spatial_compression_ratio);
        reader.read("temporal_compression_ratio", &mut self.temporal_compression_ratio);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));

        for (field, least, value, most) in [
            ("in_channels", 1, self.in_channels, MOST_CHANNELS),
            ("out_channels", 1, self.out_channels, MOST_CHANNELS),
            ("latent_channels", 1, self.latent_channels, MOST_CHANNELS),
            ("resolution", 1, self.resolution, MOST_RESOLUTION),
            ("num_layers", 0, self.num_layers, MOST_LAYERS),
            ("patch_size", 1, self.patch_size, MOST_PATCH),
            ("spatial_compression_ratio", 1, self.spatial_compression_ratio, MOST_COMPRESSION),
            ("temporal_compression_ratio", 1, self.temporal_compression_ratio, MOST_COMPRESSION),
        ] {
            if !(least..=most).contains(&value) {
                report(&[field], format!("expected a whole number from {least} to {most}, found {value}"));
            }
        }
        let of_patch = self.patch_size.saturating_pow(3);
        for (field, channels) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            let values = channels.saturating_mul(of_patch);
            if self.patch_type == PatchType::Haar && values > MOST_COEFFICIENTS {
                let message = format!(
                    "expected patches of at most {MOST_COEFFICIENTS} values where patch_type is \"haar\", found {channels} channels \
                     of {of_patch} values each"
                );
                report(&[field, "patch_size", "patch_type"], message);
            }
        }
        if self.patch_type == PatchType::Haar && self.patch_size > 0 && !self.patch_size.is_power_of_two() {
            let message =
                format!("expected a power of two, as wavelets halve and halve again, found {}", self.patch_size);
            report(&["patch_size", "patch_type"], message);
        }
        for (field, widths) in [
            ("encoder_block_out_channels", &self.encoder_block_out_channels),
            ("decode_block_out_channels", &self.decode_block_out_channels),
        ] {
            if !(1..=MOST_LEVELS).contains(&widths.len()) {
                report(&[field], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {}", widths.len()));
            }
            for (i, width) in widths.iter().enumerate().filter(|(_, width)| !(1..=MOST_CHANNELS).contains(*width)) {
                let expected = format!("expected whole numbers from 1 to {MOST_CHANNELS}");
                report(&[field], format!("{expected}, found {width} at index {i}"));
            }
        }
        if self.num_layers == 0 && self.encoder_block_out_channels.windows(2).any(|pair| pair[0] != pair[1]) {
            let message = "expected at least 1 where the channels of the encoder's blocks differ: residual blocks alone \
                           change them";
            report(&["num_layers", "encoder_block_out_channels"], message.to_owned());
        }
        let [encoder, decoder] = [self.down_blocks(), self.up_blocks()].map(|blocks| self.compression_by(&blocks));
        if encoder != decoder {
            let message = format!(
                "expected ratios that both halves have samplers for: the encoder's blocks make one latent of {} pixels and \
                 {} frames, the decoder's {} pixels and {} frames of one latent",
                encoder[0], encoder[1], decoder[0], decoder[1]
            );
            let fields = [
                "spatial_compression_ratio",
                "temporal_compression_ratio",
                "patch_size",
                "encoder_block_out_channels",
                "decode_block_out_channels",
            ];
            report(&fields, message);
        }
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found.extend(self.statistics_violations());
        found
    }
}

impl Config {
    /// Means and deviations of the latents that do not fit: both have a number for each channel at
    /// each of some latent frames.
    fn statistics_violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let lists = [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)];
        for (field, values) in lists {
            let Some(values) = values else { continue };
            if values.is_empty() || !values.len().is_multiple_of(self.latent_channels.max(1)) {
                let channels = self.latent_channels;
                let expected = format!("expected a multiple of {channels} numbers, some for each latent channel");
                let message = format!("{expected}, found {}", values.len());
                found.push(Violation::new(&[field, "latent_channels"], message));
            }
            found.extend(config_rules::statistics_values(field, values));
        }
        if let (Some(mean), Some(deviation)) = (&self.latents_mean, &self.latents_std)
            && mean.len() != deviation.len()
        {
            let message =
                format!("expected as many numbers as latents_mean has, {}, found {}", mean.len(), deviation.len());
            found.push(Violation::new(&["latents_std", "latents_mean"], message));
        }
        found
    }
}
