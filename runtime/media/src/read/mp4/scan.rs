//! Boxes at the top of a file: the index and the fragments among them are read, all others passed
//! over.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::super::clip_file::FileBytes;
use super::super::h264::Trouble;
use super::boxes::{BoxBytes, HEADER, header};
use super::index::Track;
use crate::error::{Error, Result, bad, unsupported};

/// Boxes at the top of a file, and bytes of one that is read: what is beyond is damaged. A fragment
/// may be a single frame.
const MAX_BOXES: usize = 1 << 22;
const MAX_INDEX: u64 = 1 << 28;
/// What the first box of a file may be.
const KNOWN: [&[u8; 4]; 14] = [
    b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid", b"pdin", b"moof", b"sidx",
    b"emsg", b"prft",
];

/// Where a box is: its kind, its first byte, and the one behind its last.
struct BoxSpan {
    kind: [u8; 4],
    start: u64,
    end: u64,
}

struct Scan<'a> {
    path: &'a Path,
    file: &'a mut FileBytes,
    length: u64,
}

/// The video track that is read of a file of `length` bytes, with all its samples; they are in the
/// file.
///
/// # Errors
/// [`Error::UnsupportedInput`] if ffmpeg may help.
pub(super) fn read_track(path: &Path, file: &mut FileBytes, length: u64) -> Result<Track> {
    let mut scan = Scan { path, file, length };
    let problem = |trouble| match trouble {
        Trouble::Unsupported(what) => unsupported(path, what),
        Trouble::Damaged(what) => bad(path, what),
    };
    let index = scan.index()?;
    let mut track = BoxBytes::first(&index).and_then(|movie| Track::read(movie, length)).map_err(problem)?;
    if track.defaults.is_some() {
        let mut at = 0;
        for _ in 0..MAX_BOXES {
            let Some(place) = scan.next(at)? else { break };
            if place.end > length && &place.kind != b"mdat" {
                return Err(scan.cut_off(&place));
            }
            if &place.kind == b"moof" {
                let bytes = scan.read(&place)?;
                let read =
                    BoxBytes::first(&bytes).and_then(|fragment| track.read_fragment(fragment, place.start, length));
                read.map_err(problem)?;
            }
            at = place.end;
        }
        if at < length && scan.next(at)?.is_some() {
            return Err(bad(path, "it has too many boxes; it is damaged"));
        }
    }
    check_samples(path, &track, length)?;
    Ok(track)
}

impl Scan<'_> {
    /// The box `moov`.
    fn index(&mut self) -> Result<Vec<u8>> {
        let (mut at, mut fragments) = (0, false);
        for _ in 0..MAX_BOXES {
            let Some(place) = self.next(at)? else {
                let problem = match fragments {
                    true => {
                        "it is a piece of a fragmented MP4 without its beginning (`moov`); put the piece that is sent \
                         first in front of it: cat init.mp4 piece.m4s > whole.mp4"
                    }
                    false => "it has no index (`moov`); it is cut off, or was never finished",
                };
                return Err(bad(self.path, problem));
            };
            if at == 0 && !KNOWN.contains(&&place.kind) {
                return Err(unsupported(self.path, "it is no MP4 or QuickTime file, or a damaged one"));
            }
            match &place.kind {
                b"moov" => return self.read(&place),
                b"moof" => fragments = true,
                _ if place.end > self.length => return Err(self.cut_off(&place)),
                _ => {}
            }
            at = place.end;
        }
        Err(bad(self.path, "it has too many boxes; it is damaged"))
    }

    /// The box at `at`; `None` at the file's end, and where zeros fill it up.
    fn next(&mut self, at: u64) -> Result<Option<BoxSpan>> {
        // A header with a size of 64 bits.
        const LONGEST: u64 = 16;
        let mut bytes = vec![];
        let read =
            self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.by_ref().take(LONGEST).read_to_end(&mut bytes));
        read.map_err(|cause| files::Error::Read { path: self.path.into(), cause })?;
        if bytes.iter().take(HEADER).all(|&byte| byte == 0) {
            return Ok(None);
        }
        if bytes.len() < HEADER {
            return Err(bad(
                self.path,
                format!("it is cut off: a box at {at} begins in its last {} bytes", bytes.len()),
            ));
        }
        let (kind, size) = header(&bytes).ok_or_else(|| bad(self.path, format!("the box at {at} is damaged")))?;
        let end = size.map_or(self.length, |size| at.saturating_add(size));
        Ok(Some(BoxSpan { kind, start: at, end }))
    }

    fn read(&mut self, place: &BoxSpan) -> Result<Vec<u8>> {
        if place.end > self.length {
            return Err(self.cut_off(place));
        }
        let size = place.end - place.start;
        if size > MAX_INDEX {
            return Err(bad(self.path, format!("its index says to be {size} bytes long; it is damaged")));
        }
        let mut bytes = vec![0; size as usize];
        let read = self.file.seek(SeekFrom::Start(place.start)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|cause| files::Error::Read { path: self.path.into(), cause })?;
        Ok(bytes)
    }

    fn cut_off(&self, place: &BoxSpan) -> Error {
        let (kind, start, length) = (place.kind.escape_ascii(), place.start, self.length);
        bad(self.path, format!("it is cut off: box `{kind}` at {start} should end behind its {length} bytes"))
    }
}

/// Checks that there are samples, and all in the file.
fn check_samples(path: &Path, track: &Track, length: u64) -> Result<()> {
    if track.samples.is_empty() {
        return Err(match track.defaults {
            Some(_) => {
                bad(path, "it has no frames: it is the beginning of a fragmented MP4, without the pieces behind it")
            }
            None => bad(path, "it has no frames"),
        });
    }
    let outside = |(start, size): (u64, u32)| start.checked_add(size.into()).is_none_or(|end| end > length);
    match track.samples.iter().position(|sample| outside((sample.start, sample.size))) {
        Some(index) => {
            let problem = format!("it is cut off: stored frame {index} should end behind its {length} bytes");
            Err(bad(path, problem))
        }
        None => Ok(()),
    }
}
