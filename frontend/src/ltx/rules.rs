//! What configurations of this family must obey: lists that are long enough, channels of which each
//! module takes what the one before it makes, halves that undo each other.

use ir::PadMode;

use super::network::{DecoderLevel, EncoderLevel, Network, Sampler};
use crate::config_json::Violation;
use crate::config_rules::{MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};

/// Largest height and width of a patch.
const MOST_PATCH: usize = 64;

/// A list with a value for each of so many things.
pub(crate) struct Each {
    /// The field.
    pub(crate) field: &'static str,
    /// How long it is.
    pub(crate) found: usize,
    /// How long it must be, at least.
    pub(crate) needed: usize,
    /// The field that says so.
    pub(crate) of: &'static str,
}

/// The sampler that is called so.
pub(crate) fn sampler_named(name: &str) -> Option<Sampler> {
    match name {
        "conv" => Some(Sampler::Strided),
        "spatial" => Some(Sampler::Shuffled([1, 2, 2])),
        "temporal" => Some(Sampler::Shuffled([2, 1, 1])),
        "spatiotemporal" => Some(Sampler::Shuffled([2, 2, 2])),
        _ => None,
    }
}

/// What a sampler is called.
pub(crate) fn sampler_name(sampler: Sampler) -> &'static str {
    let names = ["conv", "spatial", "temporal", "spatiotemporal"];
    names.into_iter().find(|name| sampler_named(name) == Some(sampler)).unwrap_or("conv")
}

/// Fields that both classes have, as they were read.
pub(crate) struct Stated<'a> {
    /// Lists with a value for each level.
    pub(crate) lists: Vec<Each>,
    pub(crate) block_out_channels: &'a [usize],
    pub(crate) decoder_block_out_channels: &'a [usize],
    pub(crate) upsample_factor: &'a [usize],
    pub(crate) patch_size_t: usize,
    /// `temporal_compression_ratio` and `spatial_compression_ratio`.
    pub(crate) compression: [Option<usize>; 2],
}

impl Network {
    /// Whatever cannot be honoured of the fields that both classes have.
    pub(crate) fn violations(&self, stated: &Stated<'_>) -> Vec<Violation> {
        let mut found = self.size_violations(stated);
        let long_enough = |each: &Each| {
            (each.found < each.needed).then(|| {
                let message = format!("expected at least {} values, found {}", each.needed, each.found);
                Violation::new(&[each.field, each.of], message)
            })
        };
        found.extend(stated.lists.iter().filter_map(long_enough));
        if found.is_empty() {
            found.extend(self.encoder_violations());
            found.extend(self.decoder_violations());
        }
        if found.is_empty() {
            found.extend(self.compression_violations(stated.compression));
        }
        found
    }

    /// Numbers that are wrong by themselves.
    fn size_violations(&self, stated: &Stated<'_>) -> Vec<Violation> {
        let mut found = vec![];
        let mut report = |field: &'static str, message: String| found.push(Violation::new(&[field], message));
        let from_one = |most: usize, value: usize| format!("expected a whole number from 1 to {most}, found {value}");
        let [input, output] = self.channels;
        for (field, value) in [("in_channels", input), ("out_channels", output), ("latent_channels", self.latents)] {
            if !(1..=MOST_CHANNELS).contains(&value) {
                report(field, from_one(MOST_CHANNELS, value));
            }
        }
        for (field, channels) in [
            ("block_out_channels", stated.block_out_channels),
            ("decoder_block_out_channels", stated.decoder_block_out_channels),
        ] {
            if !(1..=MOST_LEVELS).contains(&channels.len()) {
                report(field, format!("expected a list of 1 to {MOST_LEVELS} numbers, found {}", channels.len()));
            }
            for (i, value) in channels.iter().enumerate().filter(|(_, value)| !(1..=MOST_CHANNELS).contains(*value)) {
                report(field, format!("{} at index {i}", from_one(MOST_CHANNELS, *value)));
            }
        }
        for (i, factor) in stated.upsample_factor.iter().enumerate().filter(|(_, factor)| **factor == 0) {
            report("upsample_factor", format!("expected positive whole numbers, found {factor} at index {i}"));
        }
        let encoder = self.encoder.levels.iter().map(|level| level.layers).chain([self.encoder.layers]);
        let decoder = self.decoder.levels.iter().map(|level| level.blocks.layers).chain([self.decoder.blocks.layers]);
        for (field, most) in [("layers_per_block", encoder.max()), ("decoder_layers_per_block", decoder.max())] {
            if let Some(layers) = most.filter(|layers| *layers > MOST_LAYERS) {
                report(field, format!("expected whole numbers from 0 to {MOST_LAYERS}, found {layers}"));
            }
        }
        if !(1..=MOST_PATCH).contains(&self.patch) {
            report("patch_size", from_one(MOST_PATCH, self.patch));
        }
        if stated.patch_size_t != 1 {
            let message = "expected 1: with patches of more frames the reference's first convolution does not fit";
            report("patch_size_t", format!("{message}; found {}", stated.patch_size_t));
        }
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            report("resnet_norm_eps", format!("expected a finite number of at least 0, found {:?}", self.epsilon));
        }
        found
    }

    /// Channel counts that do not go together in the encoder.
    fn encoder_violations(&self) -> Vec<Violation> {
        let mut found = vec![];
        let mut inputs = self.encoder.first;
        for (i, &EncoderLevel { outputs, sampler, widens, .. }) in self.encoder.levels.iter().enumerate() {
            let problem = match sampler {
                _ if widens => None,
                Some(Sampler::Shuffled(factors)) => {
                    let places: usize = factors.iter().product();
                    let fits = outputs.is_multiple_of(places) && (inputs * places).is_multiple_of(outputs);
                    (!fits).then(|| {
                        format!(
                            "a multiple of {places} that divides {}, {places} times those in front of it",
                            inputs * places
                        )
                    })
                }
                _ => (inputs != outputs).then(|| format!("{inputs}, as no pixel shuffle changes them")),
            };
            if let Some(expected) = problem {
                let message = format!("expected the channels behind block {i} to be {expected}; found {outputs}");
                found.push(Violation::new(
                    &["block_out_channels", "downsample_type", "spatio_temporal_scaling"],
                    message,
                ));
            }
            inputs = outputs;
        }
        found
    }

    /// Channel counts that do not go together in the decoder, and what the reference cannot run.
    fn decoder_violations(&self) -> Vec<Violation> {
        let mut found = vec![];
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        let widths = ["decoder_block_out_channels", "upsample_factor", "decoder_spatio_temporal_scaling"];
        // What the block before made.
        let mut made = self.decoder.first;
        for (i, level) in self.decoder.levels.iter().enumerate() {
            let &DecoderLevel { inputs, outputs, blocks, factors, divisor, residual } = level;
            if outputs == 0 || inputs == 0 {
                report(&widths, format!("block {i} of the decoder has no channels: its factor is {divisor}"));
                return found;
            }
            if inputs != outputs {
                if divisor != 1 {
                    let message = format!(
                        "block {i} of the decoder makes {outputs} channels of {inputs}, which takes a factor of 1; \
                         found {divisor}"
                    );
                    report(&widths, message);
                }
                for (field, is_set) in
                    [("timestep_conditioning", self.decoder.timestep), ("decoder_inject_noise", blocks.noise)]
                {
                    if is_set {
                        let message = format!(
                            "block {i} of the decoder makes {outputs} channels of {inputs}, and the reference does not \
                             run so"
                        );
                        report(&[field, "decoder_block_out_channels", "upsample_factor"], message);
                    }
                }
            } else {
                let places: usize = factors.map_or(1, |factors| factors.iter().product());
                let whole = inputs * divisor == made && (factors.is_some() || divisor == 1);
                let repeats = made.is_multiple_of(places) && places.is_multiple_of(divisor);
                if !whole || factors.is_some() && residual && !repeats {
                    let message = format!(
                        "block {i} of the decoder cannot make {outputs} channels of {made} by a factor of {divisor}"
                    );
                    report(&widths, message);
                }
            }
            made = outputs;
        }
        found
    }

    /// Halves that do not undo each other, and ratios that are not theirs.
    fn compression_violations(&self, stated: [Option<usize>; 2]) -> Vec<Violation> {
        let mut found = vec![];
        let (encoder, decoder) = (self.encoder_compression(), self.decoder_compression());
        let samplers =
            ["decoder_spatio_temporal_scaling", "spatio_temporal_scaling", "upsample_type", "downsample_type"];
        let ratios = ["temporal_compression_ratio", "spatial_compression_ratio"];
        for (axis, what) in ["frames", "pixels"].into_iter().enumerate() {
            if encoder[axis] != decoder[axis] {
                let message = format!(
                    "the decoder makes {} {what} of a latent, the encoder one latent of {}; both must be the same",
                    decoder[axis], encoder[axis]
                );
                found.push(Violation::new(&samplers, message));
            } else if let Some(ratio) = stated[axis].filter(|ratio| *ratio != encoder[axis]) {
                let message = format!("expected {}, as the samplers make it, or null; found {ratio}", encoder[axis]);
                found.push(Violation::new(&[ratios[axis]], message));
            }
        }
        found
    }
}

/// What a convolution sees beyond a border, by the name that PyTorch has for it.
pub(crate) fn border_named(name: &str) -> Option<PadMode> {
    match name {
        "zeros" => Some(PadMode::Zero),
        "reflect" => Some(PadMode::Reflect),
        "replicate" => Some(PadMode::Edge),
        _ => None,
    }
}
