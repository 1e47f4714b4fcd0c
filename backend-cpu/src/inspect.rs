//! Looking on while a program runs: how long calls take, which thread works on what, and whether
//! values are numbers.
//!
//! What is asked for here costs time; a run that is not looked at pays for none of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use half::{bf16, f16};
use ir::analysis::weight_only;
use ir::finite::{Extent, NonFinite, Reads};
use ir::{ElementType, Graph, Path, TensorType, Value};
use passes::inline::{inlined, reads};

use crate::instruction_selection::{Place, Schedule};

/// What to look at.
#[derive(Default)]
pub struct Inspection<'a> {
    /// Told how long each of [`crate::program::Program::calls`] took, by index, as soon as it is
    /// done.
    pub timed: Option<&'a mut dyn FnMut(usize, Duration)>,
    /// Told when each thread worked on each call, as soon as the call is done.
    pub spans: Option<&'a mut dyn FnMut(&Span)>,
    /// Whether every value is looked at as soon as it is computed; one that is not all numbers
    /// stops the run with [`crate::program::RunError::NonFinite`].
    pub check_finite: bool,
}

/// One thread's work on one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of the call.
    pub call: usize,
    /// The thread.
    pub thread: ThreadId,
    /// Its number in its workspace.
    pub number: usize,
    /// When its first block began.
    pub start: Instant,
    /// When its last block ended.
    pub end: Instant,
    /// How many blocks it did.
    pub blocks: usize,
}

/// Gathers the spans of one call. Each thread has a place of its own, so none waits for another.
pub(crate) struct SpanRecorder {
    call: usize,
    threads: Vec<Mutex<Option<Span>>>,
}

impl SpanRecorder {
    pub(crate) fn new(call: usize, threads: usize) -> Self {
        Self { call, threads: (0..threads).map(|_| Mutex::new(None)).collect() }
    }

    /// A block of this thread, which has this number, was done.
    pub(crate) fn add(&self, number: usize, start: Instant) {
        let end = Instant::now();
        let mut place = self.threads[number].lock().unwrap_or_else(PoisonError::into_inner);
        let span = place.get_or_insert(Span {
            call: self.call,
            thread: thread::current().id(),
            number,
            start,
            end,
            blocks: 0,
        });
        (span.end, span.blocks) = (end, span.blocks + 1);
    }

    /// What each thread did that did anything.
    pub(crate) fn spans(self) -> impl Iterator<Item = Span> {
        self.threads.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A value that can be looked at once it is computed.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) value: Value,
    pub(crate) mnemonic: &'static str,
    pub(crate) path: Path,
    pub(crate) ty: TensorType,
    pub(crate) reads: Reads,
}

impl Watched {
    /// What to say of it when it is not all numbers, by what is known of values that were there
    /// before.
    pub(crate) fn non_finite(&self, result: Extent, extents: &HashMap<Value, Extent>) -> NonFinite {
        let Reads { inputs, parameters } = self.reads.clone();
        NonFinite {
            mnemonic: self.mnemonic,
            path: self.path.clone(),
            ty: self.ty.clone(),
            result,
            inputs: inputs.into_iter().map(|(value, words)| (words, extents[&value])).collect(),
            parameters,
        }
    }
}

/// Of each call, the value that is whole when it is done.
pub(crate) fn watched(graph: &Graph, schedule: &Schedule) -> Vec<Option<Watched>> {
    let (inlined, weights) = (inlined(graph), weight_only(graph));
    let completes = |index: usize| {
        let value = schedule.calls[index].value;
        // A copy of a value to an output is a call, too, and comes after all that make it.
        let makes = |place: Option<&Place>| place == Some(&Place::Value(value));
        makes(schedule.calls[index].arguments.first())
            && !schedule.calls[index + 1..].iter().any(|call| call.value == value && makes(call.arguments.first()))
    };
    let watched = |index: usize| {
        let value = schedule.calls[index].value;
        let node = graph.node(value);
        let reads = Reads::of(graph, &weights, &reads(graph, &inlined, &node.op));
        Watched { value, mnemonic: node.op.mnemonic(), path: node.path.clone(), ty: node.ty.clone(), reads }
    };
    (0..schedule.calls.len()).map(|index| completes(index).then(|| watched(index))).collect()
}

/// Between what the values of a tensor lie whose bytes these are.
pub(crate) fn extent(ty: &TensorType, bytes: &[u8]) -> Extent {
    let (twos, fours) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
    match ty.element {
        ElementType::F32 => Extent::of(fours.iter().map(|word| f64::from(f32::from_ne_bytes(*word)))),
        ElementType::I32 => Extent::of(fours.iter().map(|word| f64::from(i32::from_ne_bytes(*word)))),
        ElementType::Bf16 => Extent::of(twos.iter().map(|word| bf16::from_ne_bytes(*word).to_f64())),
        ElementType::F16 => Extent::of(twos.iter().map(|word| f16::from_ne_bytes(*word).to_f64())),
        ElementType::I8 => Extent::of(bytes.iter().map(|byte| f64::from(byte.cast_signed()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_is_read_as_what_it_is() {
        for element in ElementType::ALL {
            let bytes = match element {
                ElementType::F32 => [-2.0_f32, 3.0].map(f32::to_ne_bytes).concat(),
                ElementType::I32 => [-2_i32, 3].map(i32::to_ne_bytes).concat(),
                ElementType::Bf16 => [-2.0, 3.0].map(|x| bf16::from_f32(x).to_ne_bytes()).concat(),
                ElementType::F16 => [-2.0, 3.0].map(|x| f16::from_f32(x).to_ne_bytes()).concat(),
                ElementType::I8 => [-2_i8, 3].map(i8::to_ne_bytes).concat(),
            };
            assert_eq!(
                extent(&TensorType::plain(element, [2]), &bytes),
                Extent::of([-2.0, 3.0].into_iter()),
                "{element}"
            );
        }
    }
}
