//! Convolution weights in the order in which the panels read them.
//!
//! [`WeightView`] says where a convolution's weights lie in somebody's memory (as the checkpoint
//! has them, or permuted); [`pack`] writes them as one block for each panel of output channels,
//! `[panel][k][nr]`. k runs over depth, height, width and input channel, in this order, so that a
//! row of taps over a channel-last image is one run of k; a step of k is a word, in bf16 two input
//! channels. Which range of k a panel call takes is its caller's choice.

use half::bf16;
use rayon::prelude::*;
use thiserror::Error;

use crate::buffer::{AlignedBuffer, BufferError};
use crate::element::Element;
use crate::panel::PanelFamily;

/// One number for each axis of a convolution's weights: a size, or a stride in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightAxes {
    /// Output channels: the columns of the panels.
    pub output: usize,
    /// Input channels: the fastest axis of k.
    pub input: usize,
    /// Taps along time.
    pub depth: usize,
    /// Taps along the height.
    pub height: usize,
    /// Taps along the width.
    pub width: usize,
}

impl WeightAxes {
    /// Taps of the kernel, as sizes: depth * height * width.
    const fn taps(&self) -> usize {
        self.depth * self.height * self.width
    }
}

/// A convolution's weights in memory, with any strides.
#[derive(Clone, Copy, Debug)]
pub struct WeightView<'a> {
    values: &'a [f32],
    sizes: WeightAxes,
    strides: WeightAxes,
}

/// The weights reach past the end of their memory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("weights of sizes {sizes:?} and strides {strides:?} do not fit in {elements} elements")]
pub struct WeightViewError {
    /// Elements that there are.
    pub elements: usize,
    /// Sizes asked for.
    pub sizes: WeightAxes,
    /// Strides asked for.
    pub strides: WeightAxes,
}

impl<'a> WeightView<'a> {
    /// Weights of these sizes, at these strides in `values`.
    ///
    /// # Errors
    ///
    /// Some element would lie outside `values`.
    pub fn new(values: &'a [f32], sizes: WeightAxes, strides: WeightAxes) -> Result<WeightView<'a>, WeightViewError> {
        let axes = [
            (sizes.output, strides.output),
            (sizes.input, strides.input),
            (sizes.depth, strides.depth),
            (sizes.height, strides.height),
            (sizes.width, strides.width),
        ];
        let last = axes.iter().try_fold(0_usize, |last, &(size, stride)| {
            size.saturating_sub(1).checked_mul(stride).and_then(|reach| last.checked_add(reach))
        });
        let empty = axes.iter().any(|&(size, _)| size == 0);
        if empty || last.is_some_and(|last| last < values.len()) {
            Ok(WeightView { values, sizes, strides })
        } else {
            Err(WeightViewError { elements: values.len(), sizes, strides })
        }
    }

    /// Dense weights in the checkpoint's order: output, input, depth, height, width.
    ///
    /// # Errors
    ///
    /// `values` is too short.
    pub fn oidhw(values: &'a [f32], sizes: WeightAxes) -> Result<WeightView<'a>, WeightViewError> {
        let height = sizes.width;
        let depth = height * sizes.height;
        let input = depth * sizes.depth;
        let output = input * sizes.input;
        WeightView::new(values, sizes, WeightAxes { output, input, depth, height, width: 1 })
    }

    /// Dense weights in the channel-last order: depth, height, width, input, output.
    ///
    /// # Errors
    ///
    /// `values` is too short.
    pub fn dhwio(values: &'a [f32], sizes: WeightAxes) -> Result<WeightView<'a>, WeightViewError> {
        let input = sizes.output;
        let width = input * sizes.input;
        let height = width * sizes.width;
        let depth = height * sizes.height;
        WeightView::new(values, sizes, WeightAxes { output: 1, input, depth, height, width })
    }

    /// Those of some taps over time alone: the first, and how many.
    ///
    /// # Panics
    /// There are not so many.
    pub(crate) fn taps_over_time(self, [first, count]: [usize; 2]) -> Self {
        assert!(
            first + count <= self.sizes.depth,
            "a kernel of {} taps has no {count} from {first} on",
            self.sizes.depth
        );
        let values = self.values.get(first * self.strides.depth..).unwrap_or_default();
        Self { values, sizes: WeightAxes { depth: count, ..self.sizes }, ..self }
    }

    /// Sizes of the axes.
    pub const fn sizes(&self) -> WeightAxes {
        self.sizes
    }

    /// One weight.
    pub(crate) fn at(&self, output: usize, input: usize, depth: usize, height: usize, width: usize) -> f32 {
        let s = &self.strides;
        self.values[output * s.output + input * s.input + depth * s.depth + height * s.height + width * s.width]
    }

    /// Where a tap's weights start, for the first input and output channel. Taps count over depth,
    /// height, width.
    const fn tap_offset(&self, tap: usize) -> usize {
        let (row, width) = (tap / self.sizes.width, tap % self.sizes.width);
        let (depth, height) = (row / self.sizes.height, row % self.sizes.height);
        depth * self.strides.depth + height * self.strides.height + width * self.strides.width
    }
}

/// Packed weights: words `[panel][k][nr]`, the first element of a panel aligned to 64 bytes where
/// `nr` is a multiple of 16, the last panel padded with zero columns.
#[derive(Debug)]
pub struct PackedWeights {
    values: AlignedBuffer,
    columns: usize,
    depth: usize,
    nr: usize,
}

impl PackedWeights {
    /// Panels that were filled elsewhere: `[panel][depth][nr]`.
    pub(crate) const fn from_parts(values: AlignedBuffer, columns: usize, depth: usize, nr: usize) -> Self {
        Self { values, columns, depth, nr }
    }

    /// Output channels, without padding.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Steps of k: depth * height * width * words of input channels.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of a panel, padding included.
    pub const fn nr(&self) -> usize {
        self.nr
    }

    /// How many panels there are.
    pub const fn panels(&self) -> usize {
        self.columns.div_ceil(self.nr)
    }

    /// Distance from one panel to the next, in elements.
    pub const fn panel_stride(&self) -> usize {
        self.depth * self.nr
    }

    /// The valid columns of a panel: `nr`, or fewer in the last one.
    pub fn panel_columns(&self, panel: usize) -> usize {
        (self.columns - panel * self.nr).min(self.nr)
    }

    /// The weights of a panel, `[k][nr]`.
    ///
    /// # Panics
    ///
    /// There is no such panel.
    pub fn panel(&self, panel: usize) -> &[f32] {
        &self.values[panel * self.panel_stride()..][..self.panel_stride()]
    }

    /// All panels, one after the other; what a word holds, the family says they were packed for.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Packs weights for the panels of `family`, rounded to its element. Panels are packed in parallel.
///
/// # Errors
///
/// The memory cannot be had.
///
/// # Panics
///
/// The family's words hold pairs, and the number of input channels is odd.
pub fn pack(weights: WeightView<'_>, family: &PanelFamily) -> Result<PackedWeights, BufferError> {
    let sizes = weights.sizes;
    let per_word = family.element.per_word();
    assert!(sizes.input.is_multiple_of(per_word), "{} input channels are no words of {}", sizes.input, family.name);
    let (nr, depth) = (family.nr, sizes.taps() * sizes.input / per_word);
    let mut values = AlignedBuffer::zeroed(sizes.output.div_ceil(nr) * depth * nr)?;
    if !values.is_empty() {
        values.par_chunks_mut(depth * nr).enumerate().for_each(|(panel, packed)| {
            let first = panel * nr;
            match family.element {
                Element::F32 => pack_panel(weights, first, nr, packed),
                Element::Bf16 => {
                    let mut numbers = vec![0.0; 2 * depth * nr];
                    pack_panel(weights, first, nr, &mut numbers);
                    for (words, rows) in packed.chunks_exact_mut(nr).zip(numbers.chunks_exact(2 * nr)) {
                        for (column, word) in words.iter_mut().enumerate() {
                            *word = pair([rows[column], rows[nr + column]]);
                        }
                    }
                }
            }
        });
    }
    Ok(PackedWeights { values, columns: sizes.output, depth, nr })
}

/// Two numbers rounded to bf16 in one word, the first in its lower half: in memory, in their order.
pub(crate) fn pair([first, second]: [f32; 2]) -> f32 {
    let [low, high] = [first, second].map(|value| u32::from(bf16::from_f32(value).to_bits()));
    f32::from_bits(low | high << 16)
}

/// Packs the panel whose first output channel is `first`.
fn pack_panel(weights: WeightView<'_>, first: usize, nr: usize, packed: &mut [f32]) {
    let columns = (weights.sizes.output - first).min(nr);
    if weights.strides.output == 1 {
        copy_rows(weights, first, columns, nr, packed);
    } else {
        transpose(weights, first, columns, nr, packed);
    }
}

/// Packs one panel of weights whose output channels are contiguous: each k is a copy.
fn copy_rows(weights: WeightView<'_>, first: usize, columns: usize, nr: usize, packed: &mut [f32]) {
    let rows = (0..weights.sizes.taps()).flat_map(|tap| {
        let start = weights.tap_offset(tap) + first;
        (0..weights.sizes.input).map(move |input| start + input * weights.strides.input)
    });
    for (target, source) in packed.chunks_exact_mut(nr).zip(rows) {
        target[..columns].copy_from_slice(&weights.values[source..][..columns]);
    }
}

/// Packs one panel of any other weights. Each output channel is read in its own order, for a few
/// input channels at a time: as many as keep the transposed block in the first-level cache, from
/// where it is copied to its place.
fn transpose(weights: WeightView<'_>, first: usize, columns: usize, nr: usize, packed: &mut [f32]) {
    const BLOCK: usize = 6 * 1024;

    let (taps, inputs) = (weights.sizes.taps(), weights.sizes.input);
    let offsets: Vec<usize> = (0..taps).map(|tap| weights.tap_offset(tap)).collect();
    let block_inputs = (BLOCK / (taps * nr)).clamp(1, inputs);
    // [tap][input of this block][nr]; the padding columns stay zero.
    let mut block = vec![0.0; taps * block_inputs * nr];
    for input in (0..inputs).step_by(block_inputs) {
        let count = block_inputs.min(inputs - input);
        for column in 0..columns {
            let start = (first + column) * weights.strides.output + input * weights.strides.input;
            for step in 0..count {
                let source = &weights.values[start + step * weights.strides.input..];
                for (tap, &offset) in offsets.iter().enumerate() {
                    block[(tap * block_inputs + step) * nr + column] = source[offset];
                }
            }
        }
        for tap in 0..taps {
            packed[(tap * inputs + input) * nr..][..count * nr]
                .copy_from_slice(&block[tap * block_inputs * nr..][..count * nr]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    const SIZES: WeightAxes = WeightAxes { output: 37, input: 21, depth: 3, height: 2, width: 3 };

    /// A weight that tells where it belongs.
    fn weight(output: usize, input: usize, depth: usize, height: usize, width: usize) -> f32 {
        (1 + ((((output * SIZES.input + input) * SIZES.depth + depth) * SIZES.height) + height) * SIZES.width + width)
            as f32
    }

    /// Memory in which the axes have these strides.
    fn memory(strides: WeightAxes, elements: usize) -> Vec<f32> {
        let mut values = vec![f32::NAN; elements];
        for_each_weight(|o, i, d, h, w| {
            let at =
                o * strides.output + i * strides.input + d * strides.depth + h * strides.height + w * strides.width;
            values[at] = weight(o, i, d, h, w);
        });
        values
    }

    fn for_each_weight(mut visit: impl FnMut(usize, usize, usize, usize, usize)) {
        for o in 0..SIZES.output {
            for i in 0..SIZES.input {
                for d in 0..SIZES.depth {
                    for h in 0..SIZES.height {
                        for w in 0..SIZES.width {
                            visit(o, i, d, h, w);
                        }
                    }
                }
            }
        }
    }

    fn check(view: WeightView<'_>) {
        for isa in Isa::ALL {
            for family in PanelFamily::of(isa, Element::F32).into_iter().flatten() {
                let packed = pack(view, family).unwrap();
                assert_eq!((packed.columns(), packed.nr()), (SIZES.output, family.nr));
                assert_eq!(packed.values().len(), packed.panels() * packed.panel_stride());
                assert_eq!(packed.values().as_ptr().addr() % 64, 0);
                for_each_weight(|o, i, d, h, w| {
                    let k = ((d * SIZES.height + h) * SIZES.width + w) * SIZES.input + i;
                    let found = packed.panel(o / family.nr)[k * family.nr + o % family.nr];
                    assert_eq!(found, weight(o, i, d, h, w), "{}: {:?}", family.name, (o, i, d, h, w));
                });
                let last = packed.panels() - 1;
                for row in packed.panel(last).chunks_exact(family.nr) {
                    assert!(row[packed.panel_columns(last)..].iter().all(|&value| value == 0.0));
                }
            }
        }
    }

    fn elements() -> usize {
        SIZES.output * SIZES.input * SIZES.taps()
    }

    #[test]
    fn packs_the_checkpoints_order() {
        let values: Vec<f32> = (1..=elements()).map(|index| index as f32).collect();
        check(WeightView::oidhw(&values, SIZES).unwrap());
    }

    #[test]
    fn packs_the_channel_last_order() {
        let strides = WeightView::dhwio(&vec![0.0; elements()], SIZES).unwrap().strides;
        let values = memory(strides, elements());
        check(WeightView::dhwio(&values, SIZES).unwrap());
    }

    #[test]
    fn packs_strides_with_gaps() {
        let strides = WeightAxes { output: 2, input: 100, depth: 2200, height: 6700, width: 14_000 };
        let values = memory(strides, 50_000);
        check(WeightView::new(&values, SIZES, strides).unwrap());
    }

    #[test]
    fn pairs_are_neighbours_along_k() {
        // The same for every family of pairs, none of which computes here.
        let Some([_, narrow]) = PanelFamily::of(Isa::Avx512, Element::Bf16) else { return };
        let sizes = WeightAxes { output: 3, input: 4, depth: 1, height: 1, width: 2 };
        let values: Vec<f32> = (1..=24).map(|index| index as f32).collect();
        let packed = pack(WeightView::oidhw(&values, sizes).unwrap(), narrow).unwrap();
        assert_eq!((packed.depth(), packed.values().len()), (4, 4 * narrow.nr));
        for (k, words) in packed.values().chunks_exact(narrow.nr).enumerate() {
            let (tap, input) = (k / 2, k % 2 * 2);
            let weight = |output: usize, input: usize| values[(output * sizes.input + input) * 2 + tap];
            for (output, word) in words[..3].iter().enumerate() {
                let expected = pair([weight(output, input), weight(output, input + 1)]);
                assert_eq!(word.to_bits(), expected.to_bits());
            }
            assert!(words[3..].iter().all(|word| word.to_bits() == 0));
        }
        let halves = pair([1.0, -2.0]).to_bits().to_ne_bytes();
        assert_eq!(halves, [bf16::from_f32(1.0), bf16::from_f32(-2.0)].map(bf16::to_ne_bytes).concat()[..]);
    }

    #[test]
    fn too_little_memory_is_an_error() {
        let values = vec![0.0; elements() - 1];
        assert!(WeightView::oidhw(&values, SIZES).is_err());
        assert!(WeightView::dhwio(&values, SIZES).is_err());
        let far = WeightAxes { output: usize::MAX, ..SIZES };
        assert!(WeightView::new(&values, SIZES, far).is_err());
    }

    #[test]
    fn nothing_packs_to_nothing() {
        let sizes = WeightAxes { output: 0, ..SIZES };
        let packed =
            pack(WeightView::oidhw(&[], sizes).unwrap(), PanelFamily::for_columns(Isa::Portable, Element::F32, 8))
                .unwrap();
        assert_eq!((packed.panels(), packed.values().len()), (0, 0));
    }
}
