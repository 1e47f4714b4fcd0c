//! A linear attention as two kernels compute it: sums over the keys of each head, then what queries
//! make of them.

use crate::element::Element;

/// Keys that are added up before their sum is added to that of others: short sums round less.
pub(crate) const KEYS_AT_ONCE: usize = 96;

/// Queries of a block, at most.
const QUERIES: usize = 128;

/// A linear attention of heads that are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearAttention {
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
    /// The bits of the f32 that is added to sums of scores.
    pub epsilon: u32,
    /// Of operands and result.
    pub element: Element,
}

impl LinearAttention {
    /// Heads of all sets.
    pub fn matrices(&self) -> usize {
        self.sets * self.heads
    }

    /// Numbers of the sums of a head: of each channel of the keys times each of the values,
    /// `[channels, outputs]`; then of each channel of the keys.
    pub fn sums(&self) -> usize {
        self.channels * (self.outputs + 1)
    }

    /// Bytes of the sums of all heads.
    pub fn sums_bytes(&self) -> usize {
        self.matrices().saturating_mul(self.sums()).saturating_mul(size_of::<f32>())
    }

    /// Queries of one block.
    pub fn queries_per_block(&self) -> usize {
        QUERIES.min(self.queries)
    }

    /// Blocks of queries of one set.
    pub fn blocks_of_set(&self) -> usize {
        self.queries.div_ceil(self.queries_per_block())
    }
}
