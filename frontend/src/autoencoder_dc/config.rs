//! The configuration of an `AutoencoderDC`: its fields, what follows from them, and which values are
//! allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use serde_json::Value;

use super::blocks::Level;
use super::recognition;
use super::samplers::PLACES;
use crate::config_json::{Configuration, Element, Field, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};
use crate::layers::Function;
use crate::recognition::OfTensors;

/// Largest kernel of attention's scales.
const MOST_KERNEL: usize = 63;

/// The name of a level's blocks, or of something else of a level: one for all levels, or one each
/// from the highest resolution down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfLevels {
    /// For all.
    All(String),
    /// One each.
    Each(Vec<String>),
}

impl OfLevels {
    /// That of a level; `None` where there is none.
    fn get(&self, level: usize) -> Option<&str> {
        match self {
            Self::All(name) => Some(name),
            Self::Each(names) => names.get(level).map(String::as_str),
        }
    }

    /// Those that are there.
    fn names(&self) -> &[String] {
        match self {
            Self::All(name) => std::slice::from_ref(name),
            Self::Each(names) => names,
        }
    }
}

impl Field for OfLevels {
    fn expected() -> String {
        "text or a list of texts".to_owned()
    }

    fn from_json(json: &Value) -> Option<Self> {
        String::from_json(json).map(Self::All).or_else(|| Vec::from_json(json).map(Self::Each))
    }

    fn to_json(&self) -> Value {
        match self {
            Self::All(name) => name.to_json(),
            Self::Each(names) => names.to_json(),
        }
    }
}

impl Element for Vec<usize> {
    const PLURAL: &'static str = "lists of positive whole numbers";
}

/// What the blocks of a level are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Residual,
    Attention,
}

impl BlockKind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "ResBlock" => Some(Self::Residual),
            "EfficientViTBlock" => Some(Self::Attention),
            _ => None,
        }
    }
}

/// The configuration of the autoencoder. [`Config::default`] is that of a class without any fields,
/// which nobody published.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the image.
    pub in_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of a head of attention.
    pub attention_head_dim: usize,
    /// `ResBlock` or `EfficientViTBlock`.
    pub encoder_block_types: OfLevels,
    /// The same of the decoder.
    pub decoder_block_types: OfLevels,
    /// Channels of each level of the encoder, from the highest resolution down.
    pub encoder_block_out_channels: Vec<usize>,
    /// The same of the decoder.
    pub decoder_block_out_channels: Vec<usize>,
    /// Blocks of each level of the encoder, from the highest resolution down; without any in the
    /// first, that level is passed over.
    pub encoder_layers_per_block: Vec<usize>,
    /// The same of the decoder.
    pub decoder_layers_per_block: Vec<usize>,
    /// Kernel sizes of the scales of attention beside the first, of each level of the encoder.
    pub encoder_qkv_multiscales: Vec<Vec<usize>>,
    /// The same of the decoder.
    pub decoder_qkv_multiscales: Vec<Vec<usize>>,
    /// How the decoder's samplers double height and width: `pixel_shuffle`, or `interpolate`.
    pub upsample_block_type: String,
    /// How the encoder's samplers halve height and width: `pixel_unshuffle`, or `conv`.
    pub downsample_block_type: String,
    /// Norms of the decoder: `rms_norm`.
    pub decoder_norm_types: OfLevels,
    /// Activation functions of the decoder's residual blocks.
    pub decoder_act_fns: OfLevels,
    /// Whether means of channels are led around the encoder's last convolution.
    pub encoder_out_shortcut: bool,
    /// Whether repeated channels are led around the decoder's first convolution.
    pub decoder_in_shortcut: bool,
    /// The activation function in front of the decoder's last convolution.
    pub decoder_conv_act_fn: String,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
}

impl Default for Config {
    fn default() -> Self {
        let all = |name: &str| OfLevels::All(name.to_owned());
        let scales = vec![vec![], vec![], vec![], vec![5], vec![5], vec![5]];
        Self {
            in_channels: 3,
            latent_channels: 32,
            attention_head_dim: 32,
            encoder_block_types: all("ResBlock"),
            decoder_block_types: all("ResBlock"),
            encoder_block_out_channels: vec![128, 256, 512, 512, 1024, 1024],
            decoder_block_out_channels: vec![128, 256, 512, 512, 1024, 1024],
            encoder_layers_per_block: vec![2, 2, 2, 3, 3, 3],
            decoder_layers_per_block: vec![3; 6],
            encoder_qkv_multiscales: scales.clone(),
            decoder_qkv_multiscales: scales,
            upsample_block_type: "pixel_shuffle".to_owned(),
            downsample_block_type: "pixel_unshuffle".to_owned(),
            decoder_norm_types: all("rms_norm"),
            decoder_act_fns: all("silu"),
            encoder_out_shortcut: true,
            decoder_in_shortcut: true,
            decoder_conv_act_fn: "relu".to_owned(),
            scaling_factor: 1.0,
        }
    }
}

/// The fields of one half.
struct HalfFields<'a> {
    names: [&'static str; 4],
    types: &'a OfLevels,
    widths: &'a [usize],
    layers: &'a [usize],
    scales: &'a [Vec<usize>],
}

/// What follows from a valid configuration.
impl Config {
    /// Whether the encoder's samplers take blocks of pixels as channels.
    pub(super) fn unshuffles(&self) -> bool {
        self.downsample_block_type == "pixel_unshuffle"
    }

    /// Whether the decoder's samplers resize.
    pub(super) fn resizes(&self) -> bool {
        self.upsample_block_type == "interpolate"
    }

    /// The activation function in front of the decoder's last convolution.
    pub(super) fn last_function(&self) -> Function {
        Function::named(&self.decoder_conv_act_fn).unwrap_or(Function::Relu)
    }

    /// The blocks of a level of the encoder.
    pub(super) fn encoder_level(&self, level: usize) -> Level<'_> {
        self.level(&self.encoder(), Function::Silu, level)
    }

    /// The blocks of a level of the decoder.
    pub(super) fn decoder_level(&self, level: usize) -> Level<'_> {
        let function = self.decoder_act_fns.get(level).and_then(Function::named);
        self.level(&self.decoder(), function.unwrap_or(Function::Silu), level)
    }

    fn level<'a>(&'a self, half: &HalfFields<'a>, function: Function, level: usize) -> Level<'a> {
        let kind = half.types.get(level).and_then(BlockKind::named).unwrap_or(BlockKind::Residual);
        Level { kind, function, head: self.attention_head_dim, scales: &half.scales[level] }
    }

    fn encoder(&self) -> HalfFields<'_> {
        HalfFields {
            names: [
                "encoder_block_types",
                "encoder_block_out_channels",
                "encoder_layers_per_block",
                "encoder_qkv_multiscales",
            ],
            types: &self.encoder_block_types,
            widths: &self.encoder_block_out_channels,
            layers: &self.encoder_layers_per_block,
            scales: &self.encoder_qkv_multiscales,
        }
    }

    fn decoder(&self) -> HalfFields<'_> {
        HalfFields {
            names: [
                "decoder_block_types",
                "decoder_block_out_channels",
                "decoder_layers_per_block",
                "decoder_qkv_multiscales",
            ],
            types: &self.decoder_block_types,
            widths: &self.decoder_block_out_channels,
            layers: &self.decoder_layers_per_block,
            scales: &self.decoder_qkv_multiscales,
        }
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderDC";
    const OF_TENSORS: OfTensors<Self> = recognition::config;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("attention_head_dim", &mut self.attention_head_dim);
        reader.read("encoder_block_types", &mut self.encoder_block_types);
        reader.read("decoder_block_types", &mut self.decoder_block_types);
        reader.read("encoder_block_out_channels", &mut self.encoder_block_out_channels);
        reader.read("decoder_block_out_channels", &mut self.decoder_block_out_channels);
        reader.read("encoder_layers_per_block", &mut self.encoder_layers_per_block);
        reader.read("decoder_layers_per_block", &mut self.decoder_layers_per_block);
        reader.read("encoder_qkv_multiscales", &mut self.encoder_qkv_multiscales);
        reader.read("decoder_qkv_multiscales", &mut self.decoder_qkv_multiscales);
        reader.read("upsample_block_type", &mut self.upsample_block_type);
        reader.read("downsample_block_type", &mut self.downsample_block_type);
        reader.read("decoder_norm_types", &mut self.decoder_norm_types);
        reader.read("decoder_act_fns", &mut self.decoder_act_fns);
        reader.read("encoder_out_shortcut", &mut self.encoder_out_shortcut);
        reader.read("decoder_in_shortcut", &mut self.decoder_in_shortcut);
        reader.read("decoder_conv_act_fn", &mut self.decoder_conv_act_fn);
        reader.read("scaling_factor", &mut self.scaling_factor);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = self.plain_violations();
        for half in [self.encoder(), self.decoder()] {
            found.extend(self.half_violations(&half));
        }
        let [encoder, decoder] = [&self.encoder_block_out_channels, &self.decoder_block_out_channels];
        if encoder.len() != decoder.len() {
            let expected = format!("expected {} numbers, as encoder_block_out_channels has", encoder.len());
            let message = format!("{expected}, so that images come back in their size; found {}", decoder.len());
            found.push(Violation::new(&["decoder_block_out_channels", "encoder_block_out_channels"], message));
        }
        if found.is_empty() {
            found.extend(self.sampler_violations());
        }
        found
    }
}

impl Config {
    /// Values that are wrong whatever the others are.
    fn plain_violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        for (field, value) in [
            ("in_channels", self.in_channels),
            ("latent_channels", self.latent_channels),
            ("attention_head_dim", self.attention_head_dim),
        ] {
            if !(1..=MOST_CHANNELS).contains(&value) {
                report(&[field], format!("expected a whole number from 1 to {MOST_CHANNELS}, found {value}"));
            }
        }
        for (field, value, known) in [
            ("upsample_block_type", &self.upsample_block_type, ["pixel_shuffle", "interpolate"]),
            ("downsample_block_type", &self.downsample_block_type, ["pixel_unshuffle", "conv"]),
        ] {
            if !known.contains(&value.as_str()) {
                report(&[field], format!("expected {:?} or {:?}, found {value:?}", known[0], known[1]));
            }
        }
        if let Some(name) = self.decoder_norm_types.names().iter().find(|name| *name != "rms_norm") {
            report(&["decoder_norm_types"], format!("expected \"rms_norm\" everywhere, found {name:?}"));
        }
        let functions = self.decoder_act_fns.names().iter().map(|name| ("decoder_act_fns", name));
        for (field, name) in functions.chain([("decoder_conv_act_fn", &self.decoder_conv_act_fn)]) {
            if Function::named(name).is_none() {
                report(&[field], format!("expected {}, found {name:?}", Function::KNOWN));
            }
        }
        for (field, names) in
            [("decoder_norm_types", &self.decoder_norm_types), ("decoder_act_fns", &self.decoder_act_fns)]
        {
            let levels = self.decoder_block_out_channels.len();
            if names.get(levels.saturating_sub(1)).is_none() {
                let expected = format!("expected one, or {levels} as decoder_block_out_channels has");
                report(&[field, "decoder_block_out_channels"], format!("{expected}, found {}", names.names().len()));
            }
        }
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found
    }

    /// Lists of one half that do not go together.
    fn half_violations(&self, half: &HalfFields<'_>) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        let &HalfFields { names: [types_field, widths_field, layers_field, scales_field], .. } = half;
        let levels = half.widths.len();
        if !(1..=MOST_LEVELS).contains(&levels) {
            report(&[widths_field], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {levels}"));
        }
        for (i, count) in half.widths.iter().enumerate().filter(|(_, count)| !(1..=MOST_CHANNELS).contains(*count)) {
            let expected = format!("expected whole numbers from 1 to {MOST_CHANNELS}");
            report(&[widths_field], format!("{expected}, found {count} at index {i}"));
        }
        for (field, length) in [(layers_field, half.layers.len()), (scales_field, half.scales.len())] {
            if length != levels {
                let message = format!("expected {levels}, as many as {widths_field} has numbers, found {length}");
                report(&[field, widths_field], message);
            }
        }
        if let Some(many) = half.layers.iter().find(|&&layers| layers > MOST_LAYERS) {
            report(&[layers_field], format!("expected whole numbers up to {MOST_LAYERS}, found {many}"));
        }
        let empty = |&(level, layers): &(usize, &usize)| *layers == 0 && (level > 0 || levels == 1);
        if let Some((level, _)) = half.layers.iter().enumerate().find(empty) {
            let message = format!(
                "expected at least one block in every level but the first of several, found 0 at index {level}"
            );
            report(&[layers_field], message);
        }
        for name in half.types.names().iter().filter(|name| BlockKind::named(name).is_none()) {
            report(&[types_field], format!("expected \"ResBlock\" or \"EfficientViTBlock\", found {name:?}"));
        }
        if half.types.get(levels.saturating_sub(1)).is_none() {
            let message = format!("expected one type, or {levels}, found {}", half.types.names().len());
            report(&[types_field, widths_field], message);
        }
        let kernels = half.scales.iter().flatten();
        for size in kernels.filter(|size| size.is_multiple_of(2) || **size > MOST_KERNEL) {
            report(&[scales_field], format!("expected odd numbers up to {MOST_KERNEL}, found {size}"));
        }
        let attends = |level: &usize| half.types.get(*level).and_then(BlockKind::named) == Some(BlockKind::Attention);
        for level in (0..levels).filter(attends).filter(|level| half.widths[*level] < self.attention_head_dim) {
            let message = format!(
                "expected at most the channels of a level with attention, found {} and {} at index {level} of {widths_field}",
                self.attention_head_dim, half.widths[level]
            );
            report(&["attention_head_dim", widths_field, types_field], message);
        }
        found
    }

    /// Channels that samplers and shortcuts cannot make of each other.
    fn sampler_violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |fields: &[&'static str], whole: usize, part: usize, what: &str| {
            if !whole.is_multiple_of(part) {
                let message =
                    format!("expected channels that go together: {what} takes {whole}, which {part} does not divide");
                found.push(Violation::new(fields, message));
            }
        };
        let (down, up) = (&self.encoder_block_out_channels, &self.decoder_block_out_channels);
        let skips = |layers: &[usize]| usize::from(layers[0] == 0);
        for pair in down[skips(&self.encoder_layers_per_block)..].windows(2) {
            check(&["encoder_block_out_channels"], PLACES * pair[0], pair[1], "the mean of a shortcut");
        }
        for pair in up[skips(&self.decoder_layers_per_block)..].windows(2) {
            check(&["decoder_block_out_channels"], PLACES * pair[0], pair[1], "the repeats of a shortcut");
        }
        if self.unshuffles() {
            for &width in &down[1..] {
                check(&["encoder_block_out_channels", "downsample_block_type"], width, PLACES, "a sampler");
            }
        }
        for (has_shortcut, field, widths, what) in [
            (self.encoder_out_shortcut, "encoder_block_out_channels", down, "the shortcut to latents"),
            (self.decoder_in_shortcut, "decoder_block_out_channels", up, "the shortcut from latents"),
        ] {
            if has_shortcut {
                check(&["latent_channels", field], widths[widths.len() - 1], self.latent_channels, what);
            }
        }
        found
    }
}
