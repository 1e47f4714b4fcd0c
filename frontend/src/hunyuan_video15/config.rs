//! The configuration of an `AutoencoderKLHunyuanVideo15`: its fields, what follows from them, and
//! which values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};
use crate::recognition::{OfTensors, TensorShapes};

/// The configuration of the autoencoder. [`Config::default`] is that of the published checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level; the decoder has one more.
    pub layers_per_block: usize,
    /// Pixels for one latent in height and width: a power of two.
    pub spatial_compression_ratio: usize,
    /// Frames for one latent frame, the first one aside: a power of two, at most the spatial one.
    pub temporal_compression_ratio: usize,
    /// Whether a level's downsampler gives the channels of the next level, or of its own.
    pub downsample_match_channel: bool,
    /// The same of upsamplers.
    pub upsample_match_channel: bool,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 32,
            block_out_channels: vec![128, 256, 512, 1024, 1024],
            layers_per_block: 2,
            spatial_compression_ratio: 16,
            temporal_compression_ratio: 4,
            downsample_match_channel: true,
            upsample_match_channel: true,
            scaling_factor: 1.03682,
        }
    }
}

/// The sampler behind a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampler {
    /// Channels that it makes of those of the level.
    pub(super) channels: usize,
    /// Whether it doubles or halves the number of frames, too.
    pub(super) time: bool,
}

impl Sampler {
    /// Frames, rows and columns of a block that is one place at the lower resolution.
    pub(super) fn factors(self) -> [usize; 3] {
        [if self.time { 2 } else { 1 }, 2, 2]
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

    /// Levels that have a sampler.
    fn sampled_levels(&self) -> usize {
        self.spatial_compression_ratio.checked_ilog2().unwrap_or(0) as usize
    }

    /// Those of them whose sampler concerns the frames.
    fn temporal_levels(&self) -> usize {
        self.temporal_compression_ratio.checked_ilog2().unwrap_or(0) as usize
    }

    /// The channels of a level of one half, and of the sampler behind it if it has one. `channels`
    /// are those of the half's levels in its own order.
    fn sampler(&self, channels: &[usize], level: usize, matches: bool, time: bool) -> Option<Sampler> {
        let next = if matches { channels.get(level + 1) } else { channels.get(level) };
        (level < self.sampled_levels()).then(|| next.map(|&channels| Sampler { channels, time })).flatten()
    }

    /// The sampler behind this level of the encoder, from the highest resolution down.
    pub(super) fn downsampler(&self, level: usize) -> Option<Sampler> {
        let time = level + self.temporal_levels() >= self.sampled_levels();
        self.sampler(&self.block_out_channels, level, self.downsample_match_channel, time)
    }

    /// Channels of the decoder's levels, from the lowest resolution up.
    pub(super) fn decoder_channels(&self) -> Vec<usize> {
        self.block_out_channels.iter().rev().copied().collect()
    }

    /// The sampler behind this level of the decoder, from the lowest resolution up.
    pub(super) fn upsampler(&self, level: usize) -> Option<Sampler> {
        let time = level < self.temporal_levels();
        self.sampler(&self.decoder_channels(), level, self.upsample_match_channel, time)
    }

    /// What keeps samplers from their channels.
    fn sampler_violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let decoder = self.decoder_channels();
        for level in 0..self.sampled_levels() {
            let halves = [
                ("downsampler", &self.block_out_channels, self.downsampler(level), "downsample_match_channel"),
                ("upsampler", &decoder, self.upsampler(level), "upsample_match_channel"),
            ];
            for (what, channels, sampler, field) in halves {
                let fields: &[&'static str] = &["block_out_channels", field];
                let Some(sampler) = sampler else {
                    let message = format!(
                        "expected a level behind each {what}, of which spatial_compression_ratio asks for {}",
                        self.sampled_levels()
                    );
                    found.push(Violation::new(fields, message));
                    continue;
                };
                let (own, made) = (channels[level], sampler.channels);
                let places: usize = sampler.factors().iter().product();
                // The first frame is a block of half the places where frames are sampled.
                let (many, few) = if what == "downsampler" { (own, made) } else { (made, own) };
                let divides = few.is_multiple_of(if what == "downsampler" || sampler.time { places } else { 1 })
                    && (4 * many).is_multiple_of(few);
                if !divides {
                    let message = format!(
                        "the {what} of {own} channels cannot make {made}: blocks of {places} places do not fill them"
                    );
                    found.push(Violation::new(fields, message));
                }
            }
        }
        found
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLHunyuanVideo15";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("spatial_compression_ratio", &mut self.spatial_compression_ratio);
        reader.read("temporal_compression_ratio", &mut self.temporal_compression_ratio);
        reader.read("downsample_match_channel", &mut self.downsample_match_channel);
        reader.read("upsample_match_channel", &mut self.upsample_match_channel);
        reader.read("scaling_factor", &mut self.scaling_factor);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        for (field, value, most) in [
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
        ] {
            if !(1..=most).contains(&value) {
                report(&[field], format!("expected a whole number from 1 to {most}, found {value}"));
            }
        }
        if !(1..=MOST_LEVELS).contains(&self.levels()) {
            let levels = self.levels();
            report(&["block_out_channels"], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {levels}"));
        }
        for (i, count) in self.block_out_channels.iter().enumerate() {
            if !(1..=MOST_CHANNELS).contains(count) {
                let expected = format!("expected whole numbers from 1 to {MOST_CHANNELS}");
                report(&["block_out_channels"], format!("{expected}, found {count} at index {i}"));
            }
        }
        let most = 1 << MOST_LEVELS;
        let ratio = self.spatial_compression_ratio;
        if !(ratio.is_power_of_two() && ratio <= most) {
            report(&["spatial_compression_ratio"], format!("expected a power of two up to {most}, found {ratio}"));
        }
        let frames = self.temporal_compression_ratio;
        if !(frames.is_power_of_two() && frames <= ratio) {
            let message = format!(
                "expected a power of two, at most spatial_compression_ratio ({ratio}), found {frames}: of others the \
                 reference's halves sample other levels"
            );
            report(&["temporal_compression_ratio", "spatial_compression_ratio"], message);
        }
        found.extend(config_rules::scaling(self.scaling_factor, None));
        if !found.is_empty() {
            return found;
        }
        let (lowest, moments) = (self.lowest(), 2 * self.latent_channels);
        if !lowest.is_multiple_of(moments) {
            let message = format!(
                "expected a last number that means and log-variances of latents ({moments} channels) divide, found {lowest}"
            );
            found.push(Violation::new(&["block_out_channels", "latent_channels"], message));
        }
        found.extend(self.sampler_violations());
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

    fn problems(config: &Config) -> String {
        config.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn samplers_are_those_of_the_reference() {
        let published = Config::default();
        assert_eq!(problems(&published), "");
        let of = |channels, time| Some(Sampler { channels, time });
        let down: Vec<_> = (0..5).map(|level| published.downsampler(level)).collect();
        assert_eq!(down, [of(256, false), of(512, false), of(1024, true), of(1024, true), None]);
        let up: Vec<_> = (0..5).map(|level| published.upsampler(level)).collect();
        assert_eq!(up, [of(1024, true), of(512, true), of(256, false), of(128, false), None]);
        let own = Config { downsample_match_channel: false, upsample_match_channel: false, ..Config::default() };
        assert_eq!((own.downsampler(0), own.upsampler(1)), (of(128, false), of(1024, true)));
        assert_eq!(problems(&own), "");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let few = Config { block_out_channels: vec![128, 256, 512, 1024], ..Config::default() };
        assert!(problems(&few).contains("expected a level behind each downsampler"), "{}", problems(&few));
        let odd = Config { block_out_channels: vec![128, 250, 512, 1024, 1024], ..Config::default() };
        assert!(problems(&odd).contains("the downsampler of 128 channels cannot make 250"), "{}", problems(&odd));
        let ratio = Config { temporal_compression_ratio: 32, ..Config::default() };
        assert!(problems(&ratio).contains("at most spatial_compression_ratio (16), found 32"), "{}", problems(&ratio));
        let latents = Config { latent_channels: 33, ..Config::default() };
        assert!(problems(&latents).contains("66 channels"), "{}", problems(&latents));
    }
}
