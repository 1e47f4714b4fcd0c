//! Zip archives as places in a file's bytes: what files they hold and where, without unpacking any.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::ops::Range;

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

/// The largest compressed file that is unpacked, in bytes.
const UNPACKED_LIMIT: u64 = 1 << 30;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its path in the archive.
    pub(super) name: String,
    /// Where its bytes lie, packed or not.
    pub(super) range: Range<usize>,
    /// Its length once unpacked.
    size: u64,
    packing: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Stored,
    Deflated,
    /// Encrypted, or compressed by a method that is not read.
    Unreadable,
}

/// The files of the archive in `bytes`, in the order of its directory.
///
/// # Errors
/// What is wrong with it, as a sentence about "it".
pub(super) fn members(bytes: &[u8]) -> Result<Vec<Member>, String> {
    let damaged = |cause: &dyn std::fmt::Display| {
        format!("it begins as a zip archive does, but is cut off or damaged ({cause}); fetch it again")
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|cause| damaged(&cause))?;
    let mut members = Vec::new();
    for place in 0..archive.len() {
        let file = archive.by_index_raw(place).map_err(|cause| damaged(&cause))?;
        let name = file.name().map_err(|cause| damaged(&cause))?.into_owned();
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let length = usize::try_from(file.compressed_size()).ok();
        let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= bytes.len())) else {
            return Err(damaged(&format!("`{name}` ends beyond it")));
        };
        let packing = match file.compression() {
            _ if file.encrypted() => Packing::Unreadable,
            CompressionMethod::Stored if file.size() == file.compressed_size() => Packing::Stored,
            CompressionMethod::DEFLATE => Packing::Deflated,
            _ => Packing::Unreadable,
        };
        members.push(Member { name, range: start..end, size: file.size(), packing });
    }
    Ok(members)
}

impl Member {
    /// Whether its bytes in the archive are the file's own.
    pub(super) fn is_stored(&self) -> bool {
        self.packing == Packing::Stored
    }

    /// Its content, unpacked if need be; `bytes` are the archive's.
    ///
    /// # Errors
    /// Why it is not unpacked.
    pub(super) fn content<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        let packed = &bytes[self.range.clone()];
        let Member { name, size, .. } = self;
        match self.packing {
            Packing::Stored => Ok(Cow::Borrowed(packed)),
            Packing::Unreadable => {
                Err(format!("`{name}` in it is encrypted or packed by an unusual method; save it uncompressed"))
            }
            Packing::Deflated if *size > UNPACKED_LIMIT => {
                Err(format!("`{name}` in it is {size} bytes once unpacked; save it uncompressed"))
            }
            Packing::Deflated => {
                let mut content = vec![];
                // One byte more than it says to be, to see whether it ends there.
                let read = DeflateDecoder::new(packed).take(size + 1).read_to_end(&mut content);
                if read.is_err() || content.len() as u64 != *size {
                    return Err(format!("`{name}` in it cannot be unpacked; it is damaged, fetch it again"));
                }
                Ok(Cow::Owned(content))
            }
        }
    }
}
