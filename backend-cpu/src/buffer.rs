//! [`AlignedBuffer`]: memory that starts on a page, is zero at first, and can fail to be allocated.
//!
//! Weights, scratches, arenas and states of this backend live in it. What is laid out inside is its
//! owner's affair. Guard pages around it are in `guard`.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;
use thiserror::Error;

use crate::guard::{self, GuardedPages};

/// Alignment of a buffer's first element, in bytes: a cache line, and the widest vector. (Pages are
/// larger.)
pub const ALIGNMENT: usize = 64;

/// Buffers of this many bytes are asked for in huge pages: kernels walk over many planes at once,
/// more than the address translation of small pages keeps in mind.
#[cfg(all(target_os = "linux", not(miri)))]
const HUGE: usize = 4 << 20;

/// The memory asked for cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot allocate a buffer of {elements} elements of {size} bytes")]
pub struct BufferError {
    /// The length asked for, in elements.
    pub elements: usize,
    /// Bytes of an element.
    pub size: usize,
}

/// A fixed number of elements, the first on a boundary of [`ALIGNMENT`] bytes: f32, or bytes where
/// what they mean is known elsewhere.
///
/// Fresh memory reads as zero. Large buffers cost nothing until a page is first touched.
pub struct AlignedBuffer<T = f32> {
    /// None if there are no elements.
    pages: Option<Pages>,
    elements: PhantomData<T>,
}

/// Mapped memory.
enum Pages {
    Plain(MmapMut),
    /// Boxed, so that buffers are no larger for a knob.
    Guarded(Box<GuardedPages>),
}

impl Pages {
    fn zeroed(bytes: usize) -> io::Result<Self> {
        if guard::is_on() {
            return Ok(Self::Guarded(Box::new(GuardedPages::zeroed(bytes)?)));
        }
        let pages = MmapMut::map_anon(bytes)?;
        #[cfg(all(target_os = "linux", not(miri)))]
        if pages.len() >= HUGE
            && let Err(cause) = pages.advise(memmap2::Advice::HugePage)
        {
            log::debug!("no huge pages for {} bytes: {cause}", pages.len());
        }
        Ok(Self::Plain(pages))
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Plain(pages) => pages,
            Self::Guarded(pages) => pages,
        }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Plain(pages) => pages,
            Self::Guarded(pages) => pages,
        }
    }
}

impl<T> Default for AlignedBuffer<T> {
    fn default() -> Self {
        AlignedBuffer { pages: None, elements: PhantomData }
    }
}

impl<T: Pod> AlignedBuffer<T> {
    /// A buffer of `elements` zeros.
    ///
    /// # Errors
    ///
    /// The memory cannot be had; nothing aborts.
    pub fn zeroed(elements: usize) -> Result<AlignedBuffer<T>, BufferError> {
        if elements == 0 {
            return Ok(AlignedBuffer::default());
        }
        let error = BufferError { elements, size: size_of::<T>() };
        let bytes = elements.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let pages = Pages::zeroed(bytes.ok_or_else(|| error.clone())?).map_err(|_| error)?;
        Ok(AlignedBuffer { pages: Some(pages), elements: PhantomData })
    }
}

impl AlignedBuffer<u8> {
    /// The same memory as f32.
    ///
    /// # Panics
    ///
    /// The bytes are not a whole number of them.
    pub fn into_f32(self) -> AlignedBuffer {
        assert!(self.len().is_multiple_of(size_of::<f32>()), "{} bytes are no f32", self.len());
        AlignedBuffer { pages: self.pages, elements: PhantomData }
    }
}

impl<T: Pod> Deref for AlignedBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.pages.as_deref().map_or(&[], bytemuck::cast_slice)
    }
}

impl<T: Pod> DerefMut for AlignedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.pages.as_deref_mut().map_or(&mut [], bytemuck::cast_slice_mut)
    }
}

impl<T: Pod> fmt::Debug for AlignedBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer").field("length", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_is_zero() {
        for elements in [0, 1, 15, 16, 17, 1000, if cfg!(miri) { 5000 } else { 1 << 20 }] {
            let mut buffer = AlignedBuffer::<f32>::zeroed(elements).unwrap();
            assert_eq!(buffer.len(), elements);
            assert!(elements == 0 || buffer.as_ptr().addr().is_multiple_of(ALIGNMENT));
            assert!(buffer.iter().all(|&value| value == 0.0));
            buffer.fill(1.0);
        }
    }

    #[test]
    fn bytes_become_numbers() {
        let mut bytes = AlignedBuffer::<u8>::zeroed(8).unwrap();
        bytes[4..].copy_from_slice(&1.5_f32.to_ne_bytes());
        assert_eq!(&bytes.into_f32()[..], [0.0, 1.5]);
        assert!(AlignedBuffer::<u8>::default().into_f32().is_empty());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri ends where it cannot map so much")]
    fn too_much_is_an_error() {
        for elements in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 4] {
            let error = AlignedBuffer::<f32>::zeroed(elements).unwrap_err();
            assert_eq!(error, BufferError { elements, size: 4 });
        }
    }

    #[test]
    fn crosses_threads() {
        fn assert_send_and_sync<T: Send + Sync>() {}
        assert_send_and_sync::<AlignedBuffer>();
    }
}
