//! A buffer of its own for all that a run reads and writes, in place of one arena, so that guard
//! pages stand around each value: see [`crate::guard`]. Values that nothing has written yet are
//! NaN.

use std::collections::{HashMap, HashSet};

use ir::Value;
use passes::BufferPlan;
use passes::buffer_plan::Reuse;

use crate::buffer::{AlignedBuffer, BufferError};
use crate::instruction_selection::{Place, Schedule};

/// What memory holds before anything is written to it: a NaN in f32 as in bf16.
const UNWRITTEN: u8 = 0xff;

/// What a run reads and writes beside weights, states and outputs, each in a buffer of its own.
pub(crate) struct SeparateBuffers {
    places: HashMap<Place, *mut u8>,
    /// What `places` point into.
    _buffers: Vec<AlignedBuffer<u8>>,
}

impl SeparateBuffers {
    /// Memory for a run of a program with this plan and schedule, and copies of its `inputs`.
    pub(crate) fn new(
        plan: &BufferPlan,
        schedule: &Schedule,
        inputs: &mut dyn Iterator<Item = (Value, &[f32])>,
    ) -> Result<Self, BufferError> {
        let (mut places, mut buffers) = (HashMap::new(), vec![]);
        let mut keep = |place, mut buffer: AlignedBuffer<u8>| {
            let memory = buffer.as_mut_ptr();
            places.insert(place, memory);
            // The memory stays where it is.
            buffers.push(buffer);
            memory
        };
        for (value, input) in inputs {
            let mut copy = AlignedBuffer::zeroed(size_of_val(input))?;
            copy.copy_from_slice(bytemuck::cast_slice(input));
            keep(Place::Value(value), copy);
        }
        let used: HashSet<Place> = schedule.calls.iter().flat_map(|call| &call.arguments).copied().collect();
        let mut starts = vec![];
        let (mut values, mut shared) = (HashMap::new(), vec![]);
        for place in used {
            match place {
                Place::Temporary(start) => starts.push(start),
                Place::Value(value) if plan.placement(value).is_some() => {
                    let sharers: &mut Vec<Value> = values.entry(owner(plan, value)).or_default();
                    sharers.push(value);
                }
                Place::Value(_) | Place::Output(_) | Place::Weights(_) => {}
            }
        }
        starts.sort_unstable();
        let ends = starts.iter().skip(1).copied().chain([schedule.temporary_bytes]);
        for (&start, end) in starts.iter().zip(ends) {
            keep(Place::Temporary(start), unwritten(end - start)?);
        }
        for (owner, sharers) in values {
            let memory =
                keep(Place::Value(owner), unwritten(plan.placement(owner).map_or(0, |placement| placement.bytes))?);
            shared.extend(sharers.into_iter().map(|value| (Place::Value(value), memory)));
        }
        places.extend(shared);
        Ok(Self { places, _buffers: buffers })
    }

    /// Where an argument is, if it is here.
    pub(crate) fn address(&self, place: Place) -> Option<*mut u8> {
        self.places.get(&place).copied()
    }
}

/// The value whose memory `value` is in: its own, or that of the operand it is written over.
fn owner(plan: &BufferPlan, value: Value) -> Value {
    match plan.placement(value).and_then(|placement| placement.reuse) {
        Some(Reuse::View(of) | Reuse::InPlace(of)) => owner(plan, of),
        None => value,
    }
}

fn unwritten(bytes: usize) -> Result<AlignedBuffer<u8>, BufferError> {
    let mut buffer = AlignedBuffer::zeroed(bytes)?;
    buffer.fill(UNWRITTEN);
    Ok(buffer)
}
