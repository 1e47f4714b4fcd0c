//! Layouts: what the axes of a tensor mean, by name.
//!
//! An axis is a letter, a layout the letters of a tensor's axes, outermost first: `ncthw`, `dhwio`,
//! `nhwc`. A letter stands once. Tensors may have any layout; ops that must know which axis is
//! which (convolutions, norms, pools and resizes) say in their constraints which layouts they take.

use std::fmt;
use std::str::FromStr;

use crate::types::{Dims, TypeError};

/// What an axis means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    /// Samples.
    Batch,
    /// Channels of an activation.
    Channel,
    /// Frames.
    Time,
    /// Rows, of an activation or of a kernel.
    Height,
    /// Columns, of an activation or of a kernel.
    Width,
    /// Output channels of weights.
    Output,
    /// Input channels of weights.
    Input,
    /// Frames of a kernel.
    Depth,
}

impl Axis {
    /// Every axis.
    pub const ALL: [Self; 8] =
        [Self::Batch, Self::Channel, Self::Time, Self::Height, Self::Width, Self::Output, Self::Input, Self::Depth];

    /// The letter in the text format.
    pub const fn letter(self) -> char {
        match self {
            Self::Batch => 'n',
            Self::Channel => 'c',
            Self::Time => 't',
            Self::Height => 'h',
            Self::Width => 'w',
            Self::Output => 'o',
            Self::Input => 'i',
            Self::Depth => 'd',
        }
    }
}

/// The axes of a tensor by name, outermost first; no names where axes have none: biases,
/// statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The names, then `None`. No axis stands twice, so there is room for all.
    axes: [Option<Axis>; Axis::ALL.len()],
}

impl Layout {
    /// Axes without names.
    pub const PLAIN: Self = Self { axes: [None; Axis::ALL.len()] };
    /// Video, channel-first. PyTorch's.
    pub const NCTHW: Self = Self::of([Axis::Batch, Axis::Channel, Axis::Time, Axis::Height, Axis::Width]);
    /// Video, channel-last.
    pub const NTHWC: Self = Self::of([Axis::Batch, Axis::Time, Axis::Height, Axis::Width, Axis::Channel]);
    /// Convolution weights, channel-first. PyTorch's.
    pub const OIDHW: Self = Self::of([Axis::Output, Axis::Input, Axis::Depth, Axis::Height, Axis::Width]);
    /// Convolution weights, channel-last.
    pub const DHWIO: Self = Self::of([Axis::Depth, Axis::Height, Axis::Width, Axis::Input, Axis::Output]);

    /// The layout with these axes.
    ///
    /// # Panics
    /// If an axis stands twice.
    pub const fn of<const N: usize>(axes: [Axis; N]) -> Self {
        let mut layout = Self::PLAIN;
        let mut place = 0;
        while place < N {
            let mut before = 0;
            while before < place {
                assert!(axes[before] as usize != axes[place] as usize, "an axis stands twice");
                before += 1;
            }
            layout.axes[place] = Some(axes[place]);
            place += 1;
        }
        layout
    }

    fn from_axes(axes: impl IntoIterator<Item = Axis>) -> Self {
        let mut layout = Self::PLAIN;
        layout.axes.iter_mut().zip(axes).for_each(|(place, axis)| *place = Some(axis));
        layout
    }

    /// The axes, outermost first; none for a plain tensor.
    pub fn axes(self) -> impl Iterator<Item = Axis> + Clone {
        self.axes.into_iter().map_while(|axis| axis)
    }

    /// Whether no axis has a name.
    pub fn is_plain(self) -> bool {
        self == Self::PLAIN
    }

    /// Where an axis is.
    pub fn place(self, axis: Axis) -> Option<usize> {
        self.axes().position(|other| other == axis)
    }

    /// Where each axis of `other` is here: the permutation that makes a tensor of that layout of
    /// one of this. `None` if they do not name the same axes.
    pub fn order_of(self, other: Self) -> Option<Dims> {
        let order: Dims = other.axes().map(|axis| self.place(axis)).collect::<Option<_>>()?;
        (order.len() == self.axes().count()).then_some(order)
    }

    /// The layout whose axis `i` is this one's axis `permutation[i]`; plain stays plain.
    ///
    /// # Panics
    /// If there is no such axis.
    pub fn permuted(self, permutation: &[usize]) -> Self {
        if self.is_plain() {
            return self;
        }
        Self::from_axes(permutation.iter().map(|&place| self.axes[place].expect("a permutation of the axes")))
    }

    /// The same axes in the order of kernels that run over channels innermost: of activations the
    /// channels behind all others, of weights the input channels behind those of the kernel,
    /// and then the output channels.
    pub fn channel_last(self) -> Self {
        const LAST: [Axis; 3] = [Axis::Channel, Axis::Input, Axis::Output];
        let channels = LAST.into_iter().filter(|axis| self.place(*axis).is_some());
        Self::from_axes(self.axes().filter(|axis| !LAST.contains(axis)).chain(channels))
    }

    /// Whether these are axes of weights.
    pub fn is_weight(self) -> bool {
        self.place(Axis::Output).is_some()
    }

    /// Axes of a video, which is channel-first or channel-last; `None` for all else.
    pub fn video(self) -> Option<VideoAxes> {
        let is_video = self == Self::NCTHW || self == Self::NTHWC;
        let [batch, channel, time, height, width] =
            [Axis::Batch, Axis::Channel, Axis::Time, Axis::Height, Axis::Width].map(|axis| self.place(axis));
        is_video.then_some(VideoAxes { batch: batch?, channel: channel?, space: [time?, height?, width?] })
    }

    /// Axes of a convolution's weights, which are channel-first or channel-last; `None` for all
    /// else.
    pub fn kernel(self) -> Option<KernelAxes> {
        let is_kernel = self == Self::OIDHW || self == Self::DHWIO;
        let [output, input, depth, height, width] =
            [Axis::Output, Axis::Input, Axis::Depth, Axis::Height, Axis::Width].map(|axis| self.place(axis));
        is_kernel.then_some(KernelAxes { output: output?, input: input?, space: [depth?, height?, width?] })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return f.write_str("plain");
        }
        self.axes().try_for_each(|axis| write!(f, "{}", axis.letter()))
    }
}

impl FromStr for Layout {
    type Err = TypeError;

    /// Parses what `Display` prints.
    fn from_str(text: &str) -> Result<Self, TypeError> {
        if text == "plain" {
            return Ok(Self::PLAIN);
        }
        let error = || TypeError::Layout(text.to_owned());
        let axis = |letter| Axis::ALL.into_iter().find(|axis| axis.letter() == letter);
        let axes: Vec<Axis> = text.chars().map(axis).collect::<Option<_>>().ok_or_else(error)?;
        let is_twice = |place: usize| axes[..place].contains(&axes[place]);
        if axes.is_empty() || (0..axes.len()).any(is_twice) {
            return Err(error());
        }
        Ok(Self::from_axes(axes))
    }
}

/// Which axis of a video tensor is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoAxes {
    /// The batch.
    pub batch: usize,
    /// Channels.
    pub channel: usize,
    /// Time, height, width.
    pub space: [usize; 3],
}

/// Which axis of a convolution's weights is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelAxes {
    /// Output channels.
    pub output: usize,
    /// Input channels.
    pub input: usize,
    /// Time (depth), height, width.
    pub space: [usize; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_round_trip() {
        for text in ["plain", "ncthw", "nthwc", "oidhw", "dhwio", "nchw", "c", "wh", "ncthwoid"] {
            assert_eq!(text.parse::<Layout>().unwrap().to_string(), text);
        }
        for text in ["", "nn", "nchwn", "ncthx", "NCTHW", "n c", "plain "] {
            assert_eq!(text.parse::<Layout>(), Err(TypeError::Layout(text.to_owned())));
        }
    }

    #[test]
    fn channels_go_last() {
        let cases = [("ncthw", "nthwc"), ("oidhw", "dhwio"), ("nchw", "nhwc"), ("oihw", "hwio"), ("nct", "ntc")];
        for (from, to) in cases {
            let (from, to): (Layout, Layout) = (from.parse().unwrap(), to.parse().unwrap());
            assert_eq!((from.channel_last(), to.channel_last()), (to, to));
            let order = from.order_of(to).unwrap();
            assert_eq!(from.permuted(&order), to);
        }
        assert_eq!(Layout::PLAIN.channel_last(), Layout::PLAIN);
    }

    #[test]
    fn order_needs_the_same_axes() {
        assert_eq!(Layout::NCTHW.order_of(Layout::NTHWC).unwrap().as_slice(), [0, 2, 3, 4, 1]);
        assert_eq!(Layout::OIDHW.order_of(Layout::DHWIO).unwrap().as_slice(), [2, 3, 4, 1, 0]);
        assert_eq!(Layout::NCTHW.order_of(Layout::OIDHW), None);
        assert_eq!(Layout::NCTHW.order_of("nchw".parse().unwrap()), None);
        assert_eq!(Layout::PLAIN.permuted(&[1, 0]), Layout::PLAIN);
    }

    #[test]
    fn videos_and_kernels_are_channel_first_or_last() {
        assert_eq!(Layout::NTHWC.video(), Some(VideoAxes { batch: 0, channel: 4, space: [1, 2, 3] }));
        assert_eq!(Layout::DHWIO.kernel(), Some(KernelAxes { output: 4, input: 3, space: [0, 1, 2] }));
        for text in ["plain", "nchw", "ntchw", "nthcw", "oidhw"] {
            assert_eq!(text.parse::<Layout>().unwrap().video(), None);
        }
        assert_eq!(Layout::NCTHW.kernel(), None);
    }
}
