//! Steps: what the compiler compiles. A step is the encoder or the decoder over some frames of one
//! tile.
//!
//! A first step has nothing before it; a next step reads, as its states, what the step before left
//! under the same names. A step over a whole clip neither reads states nor leaves any. Declaring
//! one is in [`crate::declaration`].

use std::fmt;
use std::str::FromStr;

/// A half of the autoencoder, with its convolution at the latents, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Half {
    /// Latents to video.
    Decoder,
    /// Video to latents.
    Encoder,
}

impl Half {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Decoder, Self::Encoder];

    /// What it does, as steps are named after it.
    const fn verb(self) -> &'static str {
        match self {
            Self::Decoder => "decode",
            Self::Encoder => "encode",
        }
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

/// Where in a clip a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Position {
    /// The first frames, with more behind them; reads no states.
    First,
    /// Any later frames.
    Next,
    /// All frames at once; neither reads states nor leaves any.
    Whole,
}

impl Position {
    /// Every position.
    pub const ALL: [Self; 3] = [Self::First, Self::Next, Self::Whole];

    /// The name, as it prints and parses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Next => "next",
            Self::Whole => "whole",
        }
    }

    /// Whether the step reads the states that the step before left.
    pub const fn reads_states(self) -> bool {
        matches!(self, Self::Next)
    }

    /// Whether the step leaves states for a step behind it.
    pub const fn leaves_states(self) -> bool {
        !matches!(self, Self::Whole)
    }
}

/// Which half runs, and where in a clip. Prints and parses as `decode-first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepKind {
    /// The half of the autoencoder that runs.
    pub half: Half,
    /// Where in a clip.
    pub position: Position,
}

impl StepKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::new(Half::Decoder, Position::First),
        Self::new(Half::Decoder, Position::Next),
        Self::new(Half::Decoder, Position::Whole),
        Self::new(Half::Encoder, Position::First),
        Self::new(Half::Encoder, Position::Next),
        Self::new(Half::Encoder, Position::Whole),
    ];

    /// This half, at this position.
    pub const fn new(half: Half, position: Position) -> Self {
        Self { half, position }
    }

    /// The step of this number, from 0, of a clip that has so many.
    pub const fn of_clip(half: Half, step: usize, steps: usize) -> Self {
        let position = match step {
            _ if steps <= 1 => Position::Whole,
            0 => Position::First,
            _ => Position::Next,
        };
        Self::new(half, position)
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.half.verb(), self.position.name())
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
        Self::ALL.into_iter().find(|kind| kind.to_string() == text).ok_or_else(|| ParseStepKindError(text.to_owned()))
    }
}

/// A step and the sizes of its input: latents for a decode step, a video for an encode step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Which half, and where in a clip.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_print_as_they_parse() {
        for kind in StepKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!(StepKind::new(Half::Encoder, Position::Next).to_string(), "encode-next");
        let refused = "decode".parse::<StepKind>().unwrap_err().to_string();
        assert!(refused.contains("`decode` is not a step"), "{refused}");
    }

    #[test]
    fn a_step_over_the_whole_clip_is_neither_first_nor_next() {
        let positions = |steps| (0..steps).map(move |step| StepKind::of_clip(Half::Decoder, step, steps).position);
        assert_eq!(positions(1).collect::<Vec<_>>(), [Position::Whole]);
        assert_eq!(positions(3).collect::<Vec<_>>(), [Position::First, Position::Next, Position::Next]);
    }
}
