//! Steps: what the compiler compiles. A step is the encoder or the decoder over one batch of frames of one tile.
//!
//! A first step repeats its first frame where a causal convolution reaches back; a next step reads, as its states, what
//! the step before left under the same names. A step over a whole clip neither reads states nor leaves any. The modules themselves are in `blocks`, `decoder` and `encoder`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ir::{BuildError, Builder, ElementType, Graph, Layout, Output, Role, TensorType, Value};

use crate::config::{Config, ConfigProblem};
use crate::parameters::Half;
use crate::{decoder, encoder};

/// Which step of a clip, and which half of the autoencoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepKind {
    /// The first frames of a clip of latents; reads no states.
    DecodeFirst,
    /// Any later latent frames.
    DecodeNext,
    /// All frames of a clip of latents at once.
    DecodeWhole,
    /// The first frames of a clip; reads no states.
    EncodeFirst,
    /// Any later frames.
    EncodeNext,
    /// All frames of a clip at once.
    EncodeWhole,
}

impl StepKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::DecodeFirst,
        Self::DecodeNext,
        Self::DecodeWhole,
        Self::EncodeFirst,
        Self::EncodeNext,
        Self::EncodeWhole,
    ];

    /// The name, as it prints and parses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DecodeFirst => "decode-first",
            Self::DecodeNext => "decode-next",
            Self::DecodeWhole => "decode-whole",
            Self::EncodeFirst => "encode-first",
            Self::EncodeNext => "encode-next",
            Self::EncodeWhole => "encode-whole",
        }
    }

    /// The half of the autoencoder that runs.
    pub const fn half(self) -> Half {
        match self {
            Self::DecodeFirst | Self::DecodeNext | Self::DecodeWhole => Half::Decoder,
            Self::EncodeFirst | Self::EncodeNext | Self::EncodeWhole => Half::Encoder,
        }
    }

    /// Whether the step reads the states that the step before left.
    pub const fn reads_states(self) -> bool {
        matches!(self, Self::DecodeNext | Self::EncodeNext)
    }

    /// Whether the step leaves states for a step behind it.
    pub const fn leaves_states(self) -> bool {
        !matches!(self, Self::DecodeWhole | Self::EncodeWhole)
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no kind of step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a step: use decode-first, decode-next or decode-whole, encode-first, encode-next or encode-whole"
)]
pub struct ParseStepKindError(pub String);

impl FromStr for StepKind {
    type Err = ParseStepKindError;

    fn from_str(text: &str) -> Result<Self, ParseStepKindError> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| ParseStepKindError(text.to_owned()))
    }
}

/// A step and the sizes of its input: latents for a decode step, a video for an encode step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Which step.
    pub kind: StepKind,
    /// Clips at once.
    pub batch: usize,
    /// Frames of the input.
    pub frames: usize,
    /// Height of the input: latents or pixels.
    pub height: usize,
    /// Width of the input: latents or pixels.
    pub width: usize,
}

/// Prints as `decode-first of 1x3x60x90`: batch, frames, height, width.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}x{}x{}x{}", self.kind, self.batch, self.frames, self.height, self.width)
    }
}

/// Which activations leave the graph for inspection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Taps {
    /// None.
    #[default]
    None,
    /// What each module returns: causal convolutions, norms, residual blocks, samplers, blocks.
    All,
    /// What the modules of these paths return; [`crate::tap_names`] lists them.
    Named(BTreeSet<String>),
}

impl Taps {
    fn contains(&self, module: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.contains(module),
        }
    }
}

/// Why a step cannot be declared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeclareError {
    /// The configuration cannot be honoured; one that was read by [`Config::from_json`] can.
    #[error("the configuration cannot be used:{}", .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Config(Vec<ConfigProblem>),
    /// A size is zero.
    #[error("{step}: batch, frames, height and width must each be at least 1")]
    Empty {
        /// The step.
        step: Step,
    },
    /// The encoder halves the sample until nothing is left.
    #[error(
        "{step}: the sample must be at least {minimum}x{minimum} pixels, since the encoder halves height and width {halvings} \
         times; it is {}x{}", step.height, step.width
    )]
    TooSmall {
        /// The step.
        step: Step,
        /// The least height and width.
        minimum: usize,
        /// How often both are halved.
        halvings: usize,
    },
    /// No module of these paths returns anything in this step.
    #[error("the {half} has no module {} whose output can be tapped", quoted(names))]
    UnknownTaps {
        /// The half that the step runs.
        half: Half,
        /// The paths.
        names: Vec<String>,
    },
    /// An op breaks a rule; with a valid configuration, only because tensors do not fit the address space.
    #[error("{step}: {source}")]
    Build {
        /// The step.
        step: Step,
        /// The op and the rule.
        source: BuildError,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What the declaration of a step needs to know, and the values that are to leave it.
pub(crate) struct Declaration<'a> {
    /// The model.
    pub(crate) config: &'a Config,
    kind: StepKind,
    taps: &'a Taps,
    outputs: Vec<Output>,
}

impl Declaration<'_> {
    /// Whether the step reads the states that the step before left.
    pub(crate) fn carries_states(&self) -> bool {
        self.kind.reads_states()
    }

    /// Whether the step leaves states.
    pub(crate) fn leaves_states(&self) -> bool {
        self.kind.leaves_states()
    }

    /// Lets `value` leave the step.
    pub(crate) fn output(&mut self, role: Role, name: String, value: Value) {
        self.outputs.push(Output { role, name, value });
    }

    /// Says that the module whose ops are built now returns `value`, which may be tapped.
    pub(crate) fn returns(&mut self, b: &Builder, value: Value) {
        if self.taps.contains(b.path()) {
            self.output(Role::Tap, b.path().to_string(), value);
        }
    }
}

/// Declares a step: a channel-first graph in f32.
///
/// - Input of a decode step: `latents`, `[batch, latent_channels, frames, height, width]`, unscaled. Its result: `sample`,
///   `[batch, out_channels, decoded_step_frames, height * s, width * s]`, unclamped, with `s` the spatial compression.
/// - Input of an encode step: `sample`, `[batch, in_channels, frames, height, width]`. Its result: `parameters`, mean and
///   then log-variance, `[batch, 2 * latent_channels, encoded_step_frames, height / s, width / s]`.
/// - States, read by a next step and left by every step but one over a whole clip: one a causal convolution with a kernel of 3 frames, named by its path,
///   the last two frames before those of the step: `[batch, channels, 2, height, width]` of that convolution's input.
/// - Outputs come in the order result, states, taps; states and taps in the order in which they are computed.
///
/// # Errors
/// See [`DeclareError`].
pub fn declare(config: &Config, step: &Step, taps: &Taps) -> Result<Graph, DeclareError> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(DeclareError::Config(problems));
    }
    let &Step { kind, batch, frames, height, width } = step;
    if [batch, frames, height, width].contains(&0) {
        return Err(DeclareError::Empty { step: *step });
    }
    let minimum = config.spatial_compression();
    if kind.half() == Half::Encoder && height.min(width) < minimum {
        return Err(DeclareError::TooSmall { step: *step, minimum, halvings: config.levels() - 1 });
    }

    let mut b = Builder::new(kind.name().replace('-', "_"));
    let mut d = Declaration { config, kind, taps, outputs: Vec::new() };
    let (from, to, channels) = match kind.half() {
        Half::Decoder => ("latents", "sample", config.latent_channels),
        Half::Encoder => ("sample", "parameters", config.in_channels),
    };
    let ty = TensorType::with_layout(ElementType::F32, Layout::NCTHW, [batch, channels, frames, height, width]);
    let built = b.input(from.to_owned(), ty).and_then(|input| match kind.half() {
        Half::Decoder => decoder::decode(&mut b, &mut d, input),
        Half::Encoder => encoder::encode(&mut b, &mut d, input),
    });
    let result = built.map_err(|source| DeclareError::Build { step: *step, source })?;
    d.output(Role::Result, to.to_owned(), result);

    let mut outputs = d.outputs;
    if let Taps::Named(names) = taps {
        let tapped = |name: &String| outputs.iter().any(|output| output.role == Role::Tap && output.name == *name);
        let unknown: Vec<_> = names.iter().filter(|name| !tapped(name)).cloned().collect();
        if !unknown.is_empty() {
            return Err(DeclareError::UnknownTaps { half: kind.half(), names: unknown });
        }
    }
    outputs.sort_by_key(|output| output.role);
    for Output { role, name, value } in outputs {
        b.output(role, name, value);
    }
    Ok(b.finish())
}
