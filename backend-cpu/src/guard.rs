//! Memory between inaccessible pages, for finding kernels that leave their buffers:
//! `TESSERA_GUARD_PAGES=1`.
//!
//! [`crate::buffer`] asks for it for every buffer while the knob is on: weights, scratch, states,
//! results. A run then also gives each intermediate value, each temporary and each input a buffer
//! of its own (`separate_buffers`). The last element of a buffer lies at the end of its pages, as
//! far as its alignment allows, so that what reads or writes behind it ends the process with a
//! signal at once.

use std::io;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::OnceLock;

use memmap2::{MmapMut, MmapRaw};
use region::Protection;

use crate::buffer::ALIGNMENT;

/// Whether the knob is on; asked once.
pub(crate) fn is_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| ir::knobs::GUARD_PAGES.is_on())
}

/// Zeroed bytes that start on a boundary of [`ALIGNMENT`] bytes and end less than that in front of
/// an inaccessible page.
pub(crate) struct GuardedPages {
    /// An inaccessible page, the pages of the bytes, an inaccessible page.
    mapping: MmapRaw,
    start: usize,
    bytes: usize,
}

impl GuardedPages {
    /// So many bytes, at least one.
    pub(crate) fn zeroed(bytes: usize) -> io::Result<Self> {
        let page = region::page::size();
        let inner = bytes.checked_next_multiple_of(page).ok_or(io::ErrorKind::OutOfMemory)?;
        let all = inner.checked_add(2 * page).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = MmapRaw::from(MmapMut::map_anon(all)?);
        for guard in [0, page + inner] {
            // SAFETY: the page is one of the mapping's, and nothing refers to what is in it.
            let protected = unsafe { region::protect(mapping.as_ptr().add(guard), page, Protection::NONE) };
            protected.map_err(io::Error::other)?;
        }
        Ok(Self { mapping, start: page + inner - bytes.next_multiple_of(ALIGNMENT), bytes })
    }
}

impl Deref for GuardedPages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are initialised and within the mapping's accessible pages, which `self`
        // owns.
        unsafe { slice::from_raw_parts(self.mapping.as_ptr().add(self.start), self.bytes) }
    }
}

impl DerefMut for GuardedPages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `self` is borrowed mutably, and no other reference to the bytes is
        // handed out meanwhile.
        unsafe { slice::from_raw_parts_mut(self.mapping.as_mut_ptr().add(self.start), self.bytes) }
    }
}

/// How far into a scratch of `reserved` bytes one of `needed` bytes starts that ends where it ends.
pub(crate) fn scratch_start(reserved: usize, needed: usize) -> usize {
    if is_on() { reserved.next_multiple_of(ALIGNMENT) - needed.next_multiple_of(ALIGNMENT) } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::env::current_exe;
    use std::process::{Command, ExitStatus};

    use super::*;
    use crate::buffer::AlignedBuffer;
    use crate::element::Element;
    use crate::isa::Isa;
    use crate::jit::Code;
    use crate::kernel::{Kernel, Pointwise, PointwiseFunction};

    #[test]
    fn bytes_end_at_the_guard() {
        let page = region::page::size();
        for bytes in [1, 63, 64, 100, page - 1, page, page + 1, 3 * page] {
            let mut pages = GuardedPages::zeroed(bytes).unwrap();
            assert!(pages.len() == bytes && pages.iter().all(|byte| *byte == 0));
            pages.fill(1);
            let start = pages.as_ptr().addr();
            assert!(start.is_multiple_of(ALIGNMENT));
            let end = (start + bytes).next_multiple_of(ALIGNMENT);
            assert!(end.is_multiple_of(page), "{bytes}: behind the last one is a guard");
        }
        assert!(GuardedPages::zeroed(usize::MAX).is_err());
        assert!(GuardedPages::zeroed(isize::MAX as usize - 3 * page).is_err());
    }

    /// Elements that end less than a page behind where a buffer of them starts.
    const ELEMENTS: usize = 1000;

    #[test]
    #[ignore = "ends its process where there are guards"]
    fn a_kernel_that_is_told_of_too_many_elements() {
        let function = PointwiseFunction::Add;
        let kernel = Kernel::Pointwise(Pointwise { function, elements: ELEMENTS + 24, element: Element::F32 });
        let code = Code::compile(std::slice::from_ref(&kernel), Isa::Portable).unwrap();
        let mut buffers = [(); 3].map(|()| AlignedBuffer::<f32>::zeroed(ELEMENTS).unwrap());
        let arguments = buffers.each_mut().map(|buffer| buffer.as_mut_ptr().cast::<u8>());
        for block in 0..kernel.blocks() {
            // SAFETY: it writes 24 elements too many: into the rest of the page, which nobody uses,
            // or into a guard, which ends the process.
            unsafe { code.function(0)(arguments.as_ptr(), std::ptr::null_mut(), block) };
        }
    }

    #[test]
    fn leaving_a_buffer_ends_the_process() {
        let run = |guards: &str| -> ExitStatus {
            let child = "guard::tests::a_kernel_that_is_told_of_too_many_elements";
            let mut command = Command::new(current_exe().unwrap());
            command.args(["--exact", "--ignored", child]).env(ir::knobs::GUARD_PAGES.name, guards);
            command.output().unwrap().status
        };
        assert!(run("").success(), "without guards nobody notices");
        // By a signal, or as a sanitizer that caught it ends: not as a test that failed.
        let ended = run("1");
        assert!(!matches!(ended.code(), Some(0 | 101)), "{ended}");
    }
}
