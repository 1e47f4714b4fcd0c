//! [`AlignedBuffer`]: f32 memory that starts on a cache line, is zero at first, and can fail to be allocated.
//!
//! Weights, scratches and arenas of this backend live in it. What is laid out inside is its owner's affair.

use std::alloc::Layout;
use std::fmt;
use std::ops::{Deref, DerefMut};

use thiserror::Error;

/// Alignment of a buffer's first element, in bytes: a cache line, and the widest vector.
pub const ALIGNMENT: usize = 64;

/// Elements by which the storage is longer than the buffer, so that an aligned start exists in it.
const SLACK: usize = ALIGNMENT / size_of::<f32>() - 1;

/// The memory asked for cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot allocate a buffer of {elements} f32 elements")]
pub struct BufferError {
    /// The length asked for, in elements.
    pub elements: usize,
}

/// A fixed number of f32 elements, the first on a boundary of [`ALIGNMENT`] bytes.
///
/// Fresh memory reads as zero. Large buffers cost nothing until a page is first touched.
#[derive(Default)]
pub struct AlignedBuffer {
    // An ordinary vector, longer by SLACK and never resized: freeing, Send and Sync come with it. (Asking the allocator
    // itself for 64-byte alignment would make it clear the memory by hand instead of taking fresh zero pages.)
    storage: Vec<f32>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// A buffer of `elements` zeros.
    ///
    /// # Errors
    ///
    /// The memory cannot be had; nothing aborts.
    pub fn zeroed(elements: usize) -> Result<AlignedBuffer, BufferError> {
        let error = BufferError { elements };
        let capacity = elements.checked_add(SLACK).ok_or_else(|| error.clone())?;
        let layout = Layout::array::<f32>(capacity).map_err(|_| error.clone())?;
        // SAFETY: the layout's size is not zero, since the capacity is at least SLACK > 0.
        let pointer = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<f32>();
        if pointer.is_null() {
            return Err(error);
        }
        // SAFETY: the pointer comes from the global allocator with the layout of `capacity` f32, which is the layout a
        // vector of that capacity has, and all elements are initialised: zero bytes are the f32 zero.
        let storage = unsafe { Vec::from_raw_parts(pointer, capacity, capacity) };
        let misaligned = storage.as_ptr().addr() % ALIGNMENT;
        let start = if misaligned == 0 { 0 } else { (ALIGNMENT - misaligned) / size_of::<f32>() };
        Ok(AlignedBuffer { storage, start, length: elements })
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.storage[self.start..][..self.length]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..][..self.length]
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_is_zero() {
        for elements in [0, 1, 15, 16, 17, 1000, 1 << 20] {
            let mut buffer = AlignedBuffer::zeroed(elements).unwrap();
            assert_eq!(buffer.len(), elements);
            assert_eq!(buffer.as_ptr().addr() % ALIGNMENT, 0);
            assert!(buffer.iter().all(|&value| value == 0.0));
            buffer.fill(1.0);
        }
    }

    #[test]
    fn too_much_is_an_error() {
        for elements in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 4 - SLACK] {
            assert_eq!(AlignedBuffer::zeroed(elements).unwrap_err(), BufferError { elements });
        }
    }

    #[test]
    fn crosses_threads() {
        fn assert_send_and_sync<T: Send + Sync>() {}
        assert_send_and_sync::<AlignedBuffer>();
    }
}
