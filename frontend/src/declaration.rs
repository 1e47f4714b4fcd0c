//! Declaring a step: the graph's input and outputs, what a model's modules need to know while they
//! declare theirs, and the values that leave the step beside its result. The modules themselves are
//! the models' and in `layers`.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

use ir::{BuildError, Builder, Dims, ElementType, Graph, Layout, Output, Role, TensorType, Value};
use smallvec::smallvec;

use crate::autoencoder::{Autoencoder, Medium};
use crate::config_json::ConfigProblem;
use crate::frame_steps::FrameSteps;
use crate::parameters::tap_names;
use crate::step::{Half, Position, Step, StepKind};

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
    /// The configuration cannot be honoured; one that was read by [`crate::read_config`] can.
    #[error(
        "the configuration cannot be used:{}",
        .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>()
    )]
    Config(Vec<ConfigProblem>),
    /// A size is zero.
    #[error("{step}: batch, frames, height and width must each be at least 1")]
    Empty {
        /// The step.
        step: Step,
    },
    /// The encoder makes the sample smaller until nothing is left, or latents are fewer than the
    /// model's borders mirror.
    #[error("{step}: {}; it is {}x{}", at_least(step.kind.half, *minimum, *latents), step.height, step.width)]
    TooSmall {
        /// The step.
        step: Step,
        /// The least height and width.
        minimum: usize,
        /// The least height and width of the latents.
        latents: usize,
    },
    /// The model takes whole blocks of pixels alone.
    #[error(
        "{step}: height and width must be multiples of {unit}, as the reference demands; they are {}x{}",
        step.height, step.width
    )]
    Ragged {
        /// The step.
        step: Step,
        /// What height and width must be multiples of.
        unit: usize,
    },
    /// The model's steps have other numbers of frames.
    #[error("{step}: {expected}, found {} frames", step.frames)]
    Frames {
        /// The step.
        step: Step,
        /// How many frames there may be.
        expected: String,
    },
    /// No module of these paths returns anything.
    #[error("the {half} has no module {} whose output can be tapped", quoted(names))]
    UnknownTaps {
        /// The half that the step runs.
        half: Half,
        /// The paths.
        names: Vec<String>,
    },
    /// An op breaks a rule; with a valid configuration, only because tensors do not fit the address
    /// space.
    #[error("{step}: {source}")]
    Build {
        /// The step.
        step: Step,
        /// The op and the rule.
        source: Box<BuildError>,
    },
}

fn at_least(half: Half, minimum: usize, latents: usize) -> String {
    let least = if latents == 1 { "one latent".to_owned() } else { format!("{latents}x{latents} latents") };
    match half {
        Half::Encoder => {
            format!("the sample must be at least {minimum}x{minimum} pixels, of which the encoder makes {least}")
        }
        Half::Decoder => format!("what is decoded must be at least {least}, since borders are mirrored"),
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A step under declaration: the builder of its graph, which it stands in for, and the values that
/// are to leave it.
pub struct Declaration<'a> {
    builder: Builder,
    kind: StepKind,
    taps: &'a Taps,
    /// What the step reads beside its video, by name.
    conditions: Vec<(String, Value)>,
    outputs: Vec<Output>,
}

impl Deref for Declaration<'_> {
    type Target = Builder;

    fn deref(&self) -> &Builder {
        &self.builder
    }
}

impl DerefMut for Declaration<'_> {
    fn deref_mut(&mut self) -> &mut Builder {
        &mut self.builder
    }
}

impl Declaration<'_> {
    /// Which half the step runs, and where in a clip.
    pub(crate) fn kind(&self) -> StepKind {
        self.kind
    }

    /// The input of the condition of this name, which the model lists.
    pub(crate) fn condition(&self, name: &str) -> Value {
        let found = self.conditions.iter().find(|(condition, _)| condition == name);
        found.expect("a model asks for conditions that it lists").1
    }

    /// Builds the ops of the submodule `name`.
    pub(crate) fn scope<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.builder.enter(name);
        let built = build(self);
        self.builder.set_path(outer);
        built
    }

    /// The state of the module whose ops are built now, named by its path.
    pub(crate) fn state(&mut self, ty: TensorType) -> Result<Value, BuildError> {
        let name = self.builder.path().to_string();
        self.builder.state(name, ty)
    }

    /// Leaves `value` to the next step as the state of the module whose ops are built now.
    pub(crate) fn leaves(&mut self, value: Value) {
        self.output(Role::State, value);
    }

    /// Says that the module whose ops are built now returns `value`, which may be tapped.
    pub(crate) fn returns(&mut self, value: Value) {
        if self.taps.contains(self.builder.path()) {
            self.output(Role::Tap, value);
        }
    }

    /// [`Self::returns`] of what `make` makes, which nothing but the tap needs.
    pub(crate) fn returns_made(
        &mut self,
        make: impl FnOnce(&mut Self) -> Result<Value, BuildError>,
    ) -> Result<(), BuildError> {
        if self.taps.contains(self.builder.path()) {
            let made = make(self)?;
            self.output(Role::Tap, made);
        }
        Ok(())
    }

    /// [`Self::returns`] for a module that takes frames one by one, as a batch of images: a video
    /// as `[batch * time, channel, height, width]`.
    pub(crate) fn returns_images(&mut self, video: Value) -> Result<(), BuildError> {
        self.returns_made(|d| {
            let images = d.transpose(video, smallvec![0, 2, 1, 3, 4])?;
            let shape = &d.ty(images).shape;
            let shape: Dims = smallvec![shape[0] * shape[1], shape[2], shape[3], shape[4]];
            d.reshape(images, TensorType::plain(ElementType::F32, shape))
        })
    }

    fn output(&mut self, role: Role, value: Value) {
        self.outputs.push(Output { role, name: self.builder.path().to_string(), value });
    }
}

/// Declares a step: a channel-first graph in f32.
///
/// - Input of a decode step: `latents`, `[batch, channels, frames, height, width]`, unscaled. Its
///   result: `sample`, `[batch, channels, result_frames, height * s, width * s]`, as the reference
///   returns it, with `s` the spatial compression.
/// - Input of an encode step: `sample`, `[batch, channels, frames, height, width]`. Its result:
///   `parameters`, mean and then log-variance, `[batch, channels, result_frames, height / s, width
///   / s]`.
/// - Behind it the inputs of the model's conditions, by their names; see [`crate::condition`].
/// - States, read by a next step and left by every step but one over a whole clip: one a module
///   that reaches back in time, named by its path.
/// - Outputs come in the order result, states, taps; states and taps in the order in which they are
///   computed.
///
/// # Errors
/// See [`DeclareError`].
pub fn declare(model: &dyn Autoencoder, step: &Step, taps: &Taps) -> Result<Graph, DeclareError> {
    let problems = model.problems();
    if !problems.is_empty() {
        return Err(DeclareError::Config(problems));
    }
    let &Step { kind, batch, frames, height, width } = step;
    if [batch, frames, height, width].contains(&0) {
        return Err(DeclareError::Empty { step: *step });
    }
    let minimum = model.least_size(kind.half);
    if height.min(width) < minimum {
        let latents = model.least_latents(kind.half);
        return Err(DeclareError::TooSmall { step: *step, minimum, latents });
    }

    if model.medium() == Medium::Image && frames != 1 {
        return Err(DeclareError::Frames { step: *step, expected: "expected 1, an image".to_owned() });
    }
    let unit = model.size_unit(kind.half);
    if !(height.is_multiple_of(unit) && width.is_multiple_of(unit)) {
        return Err(DeclareError::Ragged { step: *step, unit });
    }

    let frame_steps = match kind.position {
        Position::Whole => model.reference_steps(kind.half),
        Position::First | Position::Next => model.frame_steps(kind.half),
    };
    let units = |unit: usize| (frames.is_multiple_of(unit), format!("expected a multiple of {unit}"));
    let (fits, expected) = match (frame_steps, kind.position) {
        (FrameSteps::Free { first, .. } | FrameSteps::Chunks { first, .. }, Position::First | Position::Whole) => {
            (frames == first, format!("expected {first}, the first of a clip"))
        }
        (FrameSteps::Free { unit, .. } | FrameSteps::Chunks { unit, .. }, Position::Next) => units(unit),
        (FrameSteps::WholeUnits { streams: false, .. }, Position::First | Position::Next) => {
            (false, "expected a whole clip, since frames see those behind them".to_owned())
        }
        (FrameSteps::WholeUnits { .. }, Position::First) => (frames == 1, "expected 1, the first of a clip".to_owned()),
        (FrameSteps::WholeUnits { unit, .. }, Position::Next) => units(unit),
        (FrameSteps::WholeUnits { unit, .. }, Position::Whole) => {
            (frames % unit == 1 % unit, format!("expected one and a multiple of {unit}"))
        }
        (FrameSteps::Units { .. }, Position::First | Position::Next) => {
            (false, "expected a whole clip, since frames see those behind them".to_owned())
        }
        (FrameSteps::Units { unit }, Position::Whole) => units(unit),
        (FrameSteps::Fixed { .. } | FrameSteps::Ragged { .. } | FrameSteps::Parts { .. } | FrameSteps::Whole, _) => {
            (true, String::new())
        }
    };
    if !fits {
        return Err(DeclareError::Frames { step: *step, expected });
    }

    let builder = Builder::new(kind.to_string().replace('-', "_"));
    let mut d = Declaration { builder, kind, taps, conditions: Vec::new(), outputs: Vec::new() };
    let (from, to) = match kind.half {
        Half::Decoder => ("latents", "sample"),
        Half::Encoder => ("sample", "parameters"),
    };
    let shape = [batch, model.input_channels(kind.half), frames, height, width];
    let ty = TensorType::with_layout(ElementType::F32, Layout::NCTHW, shape);
    let result = d.input(from.to_owned(), ty).and_then(|input| {
        for condition in model.conditions(kind.half) {
            let value = d.input(condition.name.clone(), condition.ty(step))?;
            d.conditions.push((condition.name, value));
        }
        model.declare(&mut d, input)
    });
    let result = result.map_err(|source| DeclareError::Build { step: *step, source: Box::new(source) })?;

    let Declaration { mut builder, mut outputs, .. } = d;
    outputs.push(Output { role: Role::Result, name: to.to_owned(), value: result });
    if let Taps::Named(names) = taps {
        let tapped = |name: &String| outputs.iter().any(|output| output.role == Role::Tap && output.name == *name);
        let mut unknown: Vec<_> = names.iter().filter(|name| !tapped(name)).cloned().collect();
        // Modules may have nothing to do in one step and much in the next.
        if !unknown.is_empty() {
            let known = tap_names(model, kind.half)?;
            unknown.retain(|name| !known.contains(name));
        }
        if !unknown.is_empty() {
            return Err(DeclareError::UnknownTaps { half: kind.half, names: unknown });
        }
    }
    outputs.sort_by_key(|output| output.role);
    for Output { role, name, value } in outputs {
        builder.output(role, name, value);
    }
    Ok(builder.finish())
}
