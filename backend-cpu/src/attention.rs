//! An attention as the kernel computes it, and how it is cut: blocks of queries, runs of keys, the
//! parts of a block's scratch.
//!
//! A block takes some queries of one head. Run by run of keys, it multiplies them with the keys
//! (panels, whose columns are keys), makes weights of the scores, and adds the weighted values to
//! its sums (panels, whose columns are channels): the softmax is taken over what was seen so far,
//! and sums are scaled when a larger score comes (Milakov and Gimelshein 2018, arXiv:1805.02867;
//! Rabe and Staats 2021, arXiv:2112.05682). So scores are never stored but for one run. Keys and
//! values are packed before, as panels read them: by kernels of their own, or by the one block that
//! reads them, where that is all there is.
//!
//! Cuts depend on sizes and panels alone, never on the number of threads.

use ir::AttentionMask;

use crate::blocking::SUM_DEPTH;
use crate::cost_model::{BLOCKS_AIMED, SCRATCH_IN_CACHE};
use crate::element::Element;
use crate::panel::softmax::State;

/// Queries of a block, at most: keys and values are read once for so many, from far away where they
/// are many.
const QUERIES: usize = 112;

/// Keys and values that one block alone reads are packed into its scratch where they have no more
/// bytes than this.
const PACKED_IN_SCRATCH: usize = 1 << 18;

/// Multiply-adds of a block of several heads, at least.
const BLOCK_PRODUCTS: usize = 1 << 20;

/// Numbers behind a row of the scratch, so that rows do not start in the same cache set.
const ROW_PADDING: usize = 16;

/// An attention of heads that are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Sets of tokens that do not see each other.
    pub sets: usize,
    /// Heads of each.
    pub heads: usize,
    /// Queries of a set.
    pub queries: usize,
    /// Keys of a set.
    pub keys: usize,
    /// Channels of a head, of queries and keys.
    pub channels: usize,
    /// Channels of a head, of values and result.
    pub outputs: usize,
    /// The bits of the f32 that scores are multiplied with, which are exponents of 2 then.
    pub factor: u32,
    /// Which keys a query sees.
    pub mask: AttentionMask,
    /// Of operands and result.
    pub element: Element,
    /// Columns of a panel over keys, and over values' channels.
    pub panel_columns: [usize; 2],
    /// Most rows of these panels.
    pub panel_rows: [usize; 2],
}

/// The parts of a block's scratch, in words of 32 bits, one behind the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// What is known of the scores of each query so far.
    pub states: usize,
    /// Queries, times the factor.
    pub queries: usize,
    /// Scores of a run of keys, then their weights.
    pub scores: usize,
    /// Weighted sums of values.
    pub sums: usize,
    /// Packed keys, if they are here.
    pub packed_keys: usize,
    /// Packed values, if they are here.
    pub packed_values: usize,
}

impl Scratch {
    /// Words in all.
    pub fn words(&self) -> usize {
        let Self { states, queries, scores, sums, packed_keys, packed_values } = *self;
        [states, queries, scores, sums, packed_keys, packed_values].into_iter().fold(0, usize::saturating_add)
    }
}

impl Attention {
    /// Heads of all sets.
    pub const fn matrices(&self) -> usize {
        self.sets * self.heads
    }

    /// Channels of a token of queries and keys, with all heads.
    pub const fn token_channels(&self) -> usize {
        self.heads * self.channels
    }

    /// Channels of a token of values and result, with all heads.
    pub const fn token_outputs(&self) -> usize {
        self.heads * self.outputs
    }

    /// Keys of a run: a slice of the sum over values. Whole panels, as far as there are so many
    /// keys.
    pub fn run(&self) -> usize {
        let columns = self.panel_columns[0];
        (SUM_DEPTH / columns * columns).max(columns).min(self.keys.next_multiple_of(columns))
    }

    /// Steps of a slice of the sum over channels.
    pub const fn depth(&self) -> usize {
        self.channels.div_ceil(self.channels.div_ceil(SUM_DEPTH))
    }

    /// Words from one query to the next, in the scratch.
    pub const fn query_pitch(&self) -> usize {
        self.channels.next_multiple_of(ROW_PADDING) + ROW_PADDING
    }

    /// Words from the sums of one query to those of the next.
    pub const fn sums_pitch(&self) -> usize {
        self.outputs.next_multiple_of(ROW_PADDING) + ROW_PADDING
    }

    /// Words of scratch that a query takes.
    fn query_words(&self) -> usize {
        size_of::<State>() / size_of::<f32>() + self.query_pitch() + self.run() + self.sums_pitch()
    }

    /// Queries of a block; those of a head's last one may be fewer.
    pub fn rows(&self) -> usize {
        let step = self.panel_rows[0];
        let fit = SCRATCH_IN_CACHE / size_of::<f32>() / self.query_words();
        let most = QUERIES.min(fit).max(step);
        let parts = self.queries.div_ceil(most).max(BLOCKS_AIMED.div_ceil(self.matrices()));
        self.queries.div_ceil(parts).next_multiple_of(step).min(self.queries)
    }

    /// Blocks of a head.
    pub fn blocks_of_head(&self) -> usize {
        self.queries.div_ceil(self.rows())
    }

    /// Heads of a block, if one does all queries of a head; else 1.
    pub fn heads_of_block(&self) -> usize {
        if self.blocks_of_head() > 1 {
            return 1;
        }
        let products = self.queries.saturating_mul(self.keys).saturating_mul(self.channels + self.outputs);
        (BLOCK_PRODUCTS / products.max(1)).clamp(1, self.matrices().div_ceil(BLOCKS_AIMED))
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.matrices().div_ceil(self.heads_of_block()) * self.blocks_of_head()
    }

    /// Panels over keys, and over values' channels, of a head.
    pub fn panels(&self) -> [usize; 2] {
        [self.keys.div_ceil(self.panel_columns[0]), self.outputs.div_ceil(self.panel_columns[1])]
    }

    /// Words of a head's packed keys, `[panel][channel][key]`, and values, `[panel][key][channel]`.
    pub fn packed(&self) -> [usize; 2] {
        let [keys, outputs] = self.panels();
        let words = |panels: usize, depth: usize, columns: usize| panels.saturating_mul(depth).saturating_mul(columns);
        [words(keys, self.channels, self.panel_columns[0]), words(outputs, self.keys, self.panel_columns[1])]
    }

    /// Whether a block packs the keys and values that it reads, and no other block reads them.
    pub fn packs(&self) -> bool {
        let bytes = self.packed().into_iter().fold(0, usize::saturating_add).saturating_mul(size_of::<f32>());
        self.blocks_of_head() == 1 && bytes <= PACKED_IN_SCRATCH
    }

    /// Keys whose values one block of the packing takes.
    pub fn keys_packed_at_once(&self) -> usize {
        ((1 << 15) / self.outputs).clamp(1, self.keys)
    }

    /// The parts of a block's scratch.
    pub fn scratch(&self) -> Scratch {
        let rows = self.rows();
        let [packed_keys, packed_values] = if self.packs() { self.packed() } else { [0; 2] };
        Scratch {
            states: rows * size_of::<State>() / size_of::<f32>(),
            queries: rows.saturating_mul(self.query_pitch()),
            scores: rows * self.run(),
            sums: rows.saturating_mul(self.sums_pitch()),
            packed_keys,
            packed_values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(sets: usize, heads: usize, [queries, keys]: [usize; 2], channels: usize) -> Attention {
        Attention {
            sets,
            heads,
            queries,
            keys,
            channels,
            outputs: channels,
            factor: 0,
            mask: AttentionMask::None,
            element: Element::F32,
            panel_columns: [32, 32],
            panel_rows: [14, 14],
        }
    }

    #[test]
    fn scratch_is_bounded_whatever_the_number_of_tokens() {
        for tokens in [1, 7, 1560, 5400, 30_000, 1_000_000] {
            for channels in [1, 32, 384, 512, 1024] {
                let a = attention(1, 1, [tokens; 2], channels);
                let bytes = 4 * a.scratch().words();
                assert!(bytes <= SCRATCH_IN_CACHE + PACKED_IN_SCRATCH, "{tokens} tokens of {channels}: {bytes} bytes");
                assert!(a.run() <= SUM_DEPTH && a.depth() <= SUM_DEPTH);
            }
        }
        // Where one query is more than that, a panel's rows are taken at least.
        assert_eq!(attention(1, 1, [100; 2], 1 << 20).rows(), 14);
    }

    #[test]
    fn blocks_cover_all_queries_of_all_heads() {
        for (a, blocks) in [
            (attention(1, 1, [5400; 2], 384), 49),
            (attention(1, 1, [1560; 2], 512), 16),
            (attention(2, 1, [1560; 2], 512), 28),
            // As many heads at once as make a block worth its start; all of them are packed where
            // they are used.
            (attention(5400, 4, [7; 2], 32), 21_600_usize.div_ceil(334)),
            (attention(3, 4, [1; 2], 1), 12),
        ] {
            assert_eq!(a.blocks(), blocks, "{a:?}");
            assert!(a.rows() * a.blocks_of_head() >= a.queries);
            assert_eq!(a.packs(), a.blocks_of_head() == 1);
        }
        // Earlier keys in front of few queries are many.
        assert!(!attention(1, 1, [8, 10_000], 512).packs());
    }
}
