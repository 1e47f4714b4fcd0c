//! What the numbers of an array are: which axis is which, and which values are black and white.
//! Said by whoever reads it, or told from the array itself.
//!
//! What this program and diffusers' VAE write is [B, C, T, H, W] in [-1, 1]. Frames of pipelines
//! have other axes: ComfyUI's images and diffusers' `np` frames have channels last, diffusers' `pt`
//! frames have frames before channels, and both lie in [0, 1]. So a clip of other axes is one in
//! [0, 1] unless its values say otherwise; and one of our own axes that looks as if it were in [0,
//! 1] is not read before somebody says which it is: encoded wrongly it would be a clip without
//! contrast, hours later.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// The key in a safetensors file's metadata of which values are black and white.
pub(crate) const RANGE_LABEL: &str = "range";
/// Channels of a picture, by which its axis is known.
const CHANNELS: usize = 3;
/// Frames smaller than this are no likely clip.
const LIKELY_SIDE: usize = 8;
/// Values below it are of a clip in [-1, 1]; filters undershoot 0 by less.
const CLEARLY_NEGATIVE: f32 = -0.25;
/// Values above it are of no clip in [0, 1]; filters overshoot 1 by less.
const CLEARLY_ABOVE_ONE: f32 = 1.25;

/// The axes of an array, by the initials of batch, channels, time, height and width, slowest first.
/// Those that it has not are of length 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axes(&'static str);

impl Axes {
    /// Those that can be said, as texts for [`FromStr`].
    pub const KNOWN: [&'static str; 8] = ["BCTHW", "BTHWC", "BTCHW", "THWC", "TCHW", "CTHW", "HWC", "CHW"];
    /// What this program writes.
    pub const OWN: Axes = Axes("BCTHW");

    /// For each of batch, channels, time, height and width what `of_axis` has for it, or `other`
    /// where there is no such axis.
    pub(crate) fn sorted(self, of_axis: &[usize], other: usize) -> [usize; 5] {
        (*b"BCTHW").map(|letter| {
            let axis = self.0.bytes().position(|known| known == letter);
            axis.and_then(|axis| of_axis.get(axis).copied()).unwrap_or(other)
        })
    }

    /// Whether an array of so many axes can have these.
    pub(crate) fn fit(self, axes: usize) -> bool {
        self.0.len() == axes
    }

    /// Whether they are those that this program writes, but for a batch of one.
    pub(crate) fn are_own(self) -> bool {
        "BCTHW".ends_with(self.0) && self.0 != "CHW"
    }
}

impl Display for Axes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let letters: Vec<String> = self.0.chars().map(String::from).collect();
        write!(f, "[{}]", letters.join(", "))
    }
}

impl FromStr for Axes {
    type Err = String;

    fn from_str(text: &str) -> Result<Axes, String> {
        let known = Axes::KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(text));
        known.map(Axes).ok_or_else(|| format!("known are {}", Axes::KNOWN.join(", ")))
    }
}

/// The axes of an array of this shape, told by where it has three channels, and all that may be
/// meant as well. `None` if it cannot be a clip.
pub(crate) fn axes_of(shape: &[usize]) -> Option<(Axes, Vec<Axes>)> {
    let fitting = Axes::KNOWN.map(Axes).into_iter().filter(|axes| axes.fit(shape.len()));
    let mut fitting: Vec<Axes> = fitting.filter(|axes| axes.sorted(shape, 1)[1] == CHANNELS).collect();
    let likely = |axes: &Axes| axes.sorted(shape, 1)[3..].iter().all(|&side| side >= LIKELY_SIDE);
    if fitting.iter().any(likely) {
        fitting.retain(likely);
    }
    // Our own axes may have channels that are no colours.
    if fitting.is_empty() && Axes::OWN.fit(shape.len()) {
        fitting.push(Axes::OWN);
    }
    (!fitting.is_empty()).then(|| (fitting.remove(0), fitting))
}

/// Which values are black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueRange {
    /// -1 and 1: what the model takes.
    Signed,
    /// 0 and 1.
    Unit,
    /// 0 and 255.
    Pixels,
}

impl ValueRange {
    /// All that can be said.
    pub const ALL: [ValueRange; 3] = [ValueRange::Signed, ValueRange::Unit, ValueRange::Pixels];

    /// As a text for [`FromStr`].
    pub fn text(self) -> &'static str {
        match self {
            ValueRange::Signed => "-1,1",
            ValueRange::Unit => "0,1",
            ValueRange::Pixels => "0,255",
        }
    }

    /// A value of this range as the model takes it; see [`crate::read::Frames::data`].
    pub(crate) fn value(self, value: f32) -> f32 {
        match self {
            ValueRange::Signed => value,
            ValueRange::Unit => 2.0 * value - 1.0,
            ValueRange::Pixels => 2.0 * (value / 255.0) - 1.0,
        }
    }
}

impl Display for ValueRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueRange::Signed => "[-1, 1]",
            ValueRange::Unit => "[0, 1]",
            ValueRange::Pixels => "[0, 255]",
        })
    }
}

impl FromStr for ValueRange {
    type Err = String;

    fn from_str(text: &str) -> Result<ValueRange, String> {
        let text = text.replace(' ', "");
        let found = ValueRange::ALL.into_iter().find(|range| range.text() == text);
        found.ok_or_else(|| format!("known are {}", ValueRange::ALL.map(ValueRange::text).join(" and ")))
    }
}

/// The range of floats, told from the least and the greatest value seen so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    least: f32,
    greatest: f32,
}

impl Extent {
    pub(crate) fn new() -> Extent {
        Extent { least: f32::INFINITY, greatest: f32::NEG_INFINITY }
    }

    pub(crate) fn add(&mut self, values: &[f32]) {
        self.least = values.iter().copied().fold(self.least, f32::min);
        self.greatest = values.iter().copied().fold(self.greatest, f32::max);
    }

    /// Whether no value that follows can change what [`Self::range`] says.
    pub(crate) fn is_clear(self) -> bool {
        self.least < CLEARLY_NEGATIVE
    }

    /// # Errors
    /// Why it cannot be told, as a sentence.
    pub(crate) fn range(self, axes: Axes) -> Result<ValueRange, String> {
        let Extent { least, greatest } = self;
        if self.is_clear() {
            return Ok(ValueRange::Signed);
        }
        if !axes.are_own() && greatest <= CLEARLY_ABOVE_ONE {
            return Ok(ValueRange::Unit);
        }
        Err(if greatest <= CLEARLY_ABOVE_ONE {
            format!(
                "its values lie from {least} to {greatest}: a clip {axes} should lie in [-1, 1], and this one looks as \
                 if it lay in [0, 1]"
            )
        } else {
            format!("its values lie from {least} to {greatest}, which is neither [-1, 1] nor [0, 1]")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_told_by_the_three_channels() {
        for (shape, expected, others) in [
            (&[1, 3, 9, 32, 48][..], "BCTHW", 0),
            (&[1, 9, 32, 48, 3], "BTHWC", 0),
            (&[1, 9, 3, 32, 48], "BTCHW", 0),
            (&[9, 32, 48, 3], "THWC", 0),
            (&[9, 3, 32, 48], "TCHW", 0),
            (&[3, 9, 32, 48], "CTHW", 0),
            (&[32, 48, 3], "HWC", 0),
            (&[3, 32, 48], "CHW", 0),
            // Frames of three pixels are none.
            (&[1, 3, 32, 48, 3], "BTHWC", 0),
            (&[3, 32, 48, 3], "THWC", 0),
            (&[3, 32, 3], "HWC", 1),
            // Three frames and three channels.
            (&[1, 3, 3, 32, 48], "BCTHW", 1),
            (&[3, 3, 32, 48], "TCHW", 1),
            (&[2, 5, 7, 3, 4], "BCTHW", 0),
        ] {
            let (axes, also) = axes_of(shape).unwrap();
            assert_eq!((axes.0, also.len()), (expected, others), "{shape:?}");
        }
        for shape in [&[9, 32, 48, 4][..], &[32, 48], &[3], &[], &[1, 1, 1, 1, 1, 3]] {
            assert_eq!(axes_of(shape), None, "{shape:?}");
        }
        assert_eq!("bthwc".parse::<Axes>().unwrap().sorted(&[2, 9, 32, 48, 3], 1), [2, 3, 9, 32, 48]);
        assert_eq!("HWC".parse::<Axes>().unwrap().sorted(&[32, 48, 3], 1), [1, 3, 1, 32, 48]);
        assert!("HWX".parse::<Axes>().unwrap_err().contains("BTHWC"));
    }

    #[test]
    fn ranges_are_told_or_asked_for() {
        let range = |axes: &str, values: &[f32]| {
            let mut extent = Extent::new();
            extent.add(values);
            extent.range(axes.parse().unwrap())
        };
        for axes in Axes::KNOWN {
            assert_eq!(range(axes, &[-0.9, 0.8]), Ok(ValueRange::Signed));
            assert!(range(axes, &[0.0, 200.0]).unwrap_err().contains("from 0 to 200, which is neither"));
        }
        for axes in ["BCTHW", "CTHW"] {
            assert!(range(axes, &[0.0, 0.9]).unwrap_err().contains("looks as if it lay in [0, 1]"));
            assert!(range(axes, &[-0.02, 1.03]).is_err());
        }
        for axes in ["BTHWC", "BTCHW", "THWC", "TCHW", "HWC", "CHW"] {
            assert_eq!(range(axes, &[0.0, 0.9]), Ok(ValueRange::Unit));
            assert_eq!(range(axes, &[-0.02, 1.03]), Ok(ValueRange::Unit));
        }
    }
}
