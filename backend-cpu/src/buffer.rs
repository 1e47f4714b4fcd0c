//! [`AlignedBuffer`]: f32 memory that starts on a page, is zero at first, and can fail to be allocated.
//!
//! Weights, scratches and arenas of this backend live in it. What is laid out inside is its owner's affair.

use std::fmt;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;
use thiserror::Error;

/// Alignment of a buffer's first element, in bytes: a cache line, and the widest vector. (Pages are larger.)
pub const ALIGNMENT: usize = 64;

/// Buffers of this many bytes are asked for in huge pages: kernels walk over many planes at once, more than the
/// address translation of small pages keeps in mind.
#[cfg(target_os = "linux")]
const HUGE: usize = 4 << 20;

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
    /// None if there are no elements.
    pages: Option<MmapMut>,
}

impl AlignedBuffer {
    /// A buffer of `elements` zeros.
    ///
    /// # Errors
    ///
    /// The memory cannot be had; nothing aborts.
    pub fn zeroed(elements: usize) -> Result<AlignedBuffer, BufferError> {
        if elements == 0 {
            return Ok(AlignedBuffer::default());
        }
        let error = BufferError { elements };
        let bytes = elements.checked_mul(size_of::<f32>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let pages = MmapMut::map_anon(bytes.ok_or_else(|| error.clone())?).map_err(|_| error)?;
        #[cfg(target_os = "linux")]
        if pages.len() >= HUGE
            && let Err(cause) = pages.advise(memmap2::Advice::HugePage)
        {
            log::debug!("no huge pages for {} bytes: {cause}", pages.len());
        }
        Ok(AlignedBuffer { pages: Some(pages) })
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.pages.as_deref().map_or(&[], bytemuck::cast_slice)
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.pages.as_deref_mut().map_or(&mut [], bytemuck::cast_slice_mut)
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer").field("length", &self.len()).finish_non_exhaustive()
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
            assert!(elements == 0 || buffer.as_ptr().addr().is_multiple_of(ALIGNMENT));
            assert!(buffer.iter().all(|&value| value == 0.0));
            buffer.fill(1.0);
        }
    }

    #[test]
    fn too_much_is_an_error() {
        for elements in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 4] {
            assert_eq!(AlignedBuffer::zeroed(elements).unwrap_err(), BufferError { elements });
        }
    }

    #[test]
    fn crosses_threads() {
        fn assert_send_and_sync<T: Send + Sync>() {}
        assert_send_and_sync::<AlignedBuffer>();
    }
}
