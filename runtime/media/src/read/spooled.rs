//! A clip that comes through a pipe, a socket or whatever else gives bytes: put aside on disk, in a
//! file without a name, so that it can be read as often as a clip that is a file. Y4M, the one
//! format that says where each frame ends as it comes, can be taken without waiting for the end.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use files::{foreign, spill};

use super::clip_file::ClipFile;
use super::content::Content;
use super::open::{Fallback, open_file};
use super::reader::{ClipReader, ReadOptions, frames_to_read};
use super::y4m::{self, Header};
use crate::error::{Result, bad, unsupported};

/// What every Y4M clip begins with.
const MAGIC: &[u8] = b"YUV4MPEG2 ";
/// Bytes that are taken at a time.
const CHUNK: usize = 1 << 16;
/// Bytes by which another format is known.
const HEAD: u64 = 64;

/// A clip that came through a pipe, or through whatever else gives bytes.
pub struct Spooled {
    clip: ClipFile,
}

impl Spooled {
    /// Takes all frames that come through `from`, or the first so many, which `name` stands for in
    /// messages.
    ///
    /// # Errors
    /// [`Error::UnsupportedInput`](crate::Error::UnsupportedInput) with what came, if that is not
    /// Y4M; [`Error::BadClip`](crate::Error::BadClip),
    /// [`Error::TooFewFrames`](crate::Error::TooFewFrames), [`files::Error::Read`];
    /// [`files::Error::Spill`] where there is no room for it on disk.
    pub fn receive(name: &Path, from: impl Read, frames: Option<usize>) -> Result<Spooled> {
        let read_error = |cause| files::Error::Read { path: name.into(), cause };
        let mut from = BufReader::new(from);
        let mut head = vec![];
        (&mut from).take(HEAD).read_to_end(&mut head).map_err(read_error)?;
        if head.is_empty() {
            return Err(bad(name, "nothing came through it"));
        }
        if !head.starts_with(MAGIC) {
            let what = kind(&head);
            return Err(unsupported(name, format!("a clip is streamed as y4m (YUV4MPEG2), and {what}; name a file")));
        }
        let mut from = head.chain(from);
        let folder = spill::folder();
        let spilled = |cause| files::Error::Spill { folder: folder.clone(), cause };
        let mut file = tempfile::tempfile_in(&folder).map_err(spilled)?;
        let first = y4m::line(&mut from).map_err(read_error)?.unwrap_or_default();
        let header = Header::parse(name, &first)?;
        let mut length = 0;
        let mut keep = |bytes: &[u8]| {
            length += bytes.len() as u64;
            file.write_all(bytes).map_err(spilled)
        };
        keep(format!("{first}\n").as_bytes())?;
        let mut planes = vec![0; header.frame_size()];
        let mut found = 0;
        while frames != Some(found) {
            let Some(line) = y4m::line(&mut from).map_err(read_error)? else { break };
            y4m::check_frame_line(name, &line, found)?;
            from.read_exact(&mut planes).map_err(|cause| match cause.kind() {
                ErrorKind::UnexpectedEof => bad(name, format!("it ended in frame {found}")),
                _ => read_error(cause).into(),
            })?;
            keep(format!("{line}\n").as_bytes())?;
            keep(&planes)?;
            found += 1;
        }
        frames_to_read(name, ReadOptions { frames, ..ReadOptions::default() }, Some(found))?;
        Ok(Spooled { clip: ClipFile { name: name.into(), file: Arc::new(file), length } })
    }

    /// Takes all bytes that come from `from`, which `name` stands for in messages: a clip of any
    /// format that is decoded here.
    ///
    /// # Errors
    /// [`files::Error::Read`]; [`files::Error::Spill`] where there is no room for it on disk.
    pub fn of_bytes(name: &Path, mut from: impl Read) -> Result<Spooled> {
        let folder = spill::folder();
        let spilled = |cause| files::Error::Spill { folder: folder.clone(), cause };
        let mut file = tempfile::tempfile_in(&folder).map_err(spilled)?;
        let (mut chunk, mut length) = (vec![0; CHUNK], 0);
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(&chunk[..count]).map_err(spilled)?;
                    length += count as u64;
                }
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(files::Error::Read { path: name.into(), cause }.into()),
            }
        }
        Ok(Spooled { clip: ClipFile { name: name.into(), file: Arc::new(file), length } })
    }

    /// Reads it from its first frame. No other program is started.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(&self, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
        open_file(&self.clip, options, Fallback::None)
    }
}

/// What a stream is that begins so.
fn kind(head: &[u8]) -> String {
    match Content::of_bytes(head) {
        Some(content) => format!("it is {}", content.name()),
        None => foreign::kind(head).unwrap_or_else(|| "what comes through it is something else".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_rate::FrameRate;

    /// Two gray frames of 2x1, the second brighter, and what the head says in front of them.
    fn clip() -> Vec<u8> {
        b"YUV4MPEG2 W2 H1 F5:1 Cmono\nFRAME\n\x10\x20FRAME\n\x30\x40".to_vec()
    }

    fn complaint(bytes: &[u8], frames: Option<usize>) -> String {
        Spooled::receive("-".as_ref(), bytes, frames).err().unwrap().to_string()
    }

    #[test]
    fn what_came_is_read_as_often_as_need_be() {
        let spooled = Spooled::receive("-".as_ref(), &clip()[..], None).unwrap();
        let read = |options| spooled.open(options).unwrap().read(usize::MAX).unwrap().unwrap();
        let first = read(ReadOptions::default());
        assert_eq!((first.frames, first.data.len()), (2, 12));
        let mut other = spooled.open(ReadOptions::default()).unwrap();
        let mut halves = other.read(1).unwrap().unwrap().data;
        assert_eq!(read(ReadOptions::default()), first, "between the frames of another reader");
        halves.extend(other.read(1).unwrap().unwrap().data);
        assert_eq!(halves[0], first.data[0]);
        assert_eq!(other.shape().rate, FrameRate::new(5.0).ok());
        assert_eq!(read(ReadOptions { frames: Some(1), ..ReadOptions::default() }).data.len(), 6);
    }

    #[test]
    fn no_more_is_taken_than_was_asked_for() {
        let endless = clip().into_iter().chain(std::iter::repeat(0)).take(1 << 20).collect::<Vec<u8>>();
        let spooled = Spooled::receive("-".as_ref(), &endless[..], Some(2)).unwrap();
        assert_eq!(spooled.open(ReadOptions::default()).unwrap().shape().frames, Some(2));
        assert!(complaint(&clip(), Some(3)).contains("3 frames were asked for, the clip has 2"));
    }

    #[test]
    fn what_is_no_clip_is_called_what_it_is() {
        assert!(complaint(b"", None).contains("-: not a usable clip: nothing came through it"));
        let of = |bytes: &[u8], kind: &str| {
            let complaint = complaint(bytes, None);
            assert!(complaint.contains("streamed as y4m") && complaint.contains(kind), "{complaint}");
        };
        of(b"\0\0\0\x20ftypisom\0\0\x02\0", "it is MP4 or QuickTime");
        of(b"GIF89a\x01\0", "it is a GIF");
        of(b"\x89PNG\r\n\x1a\n", "it is a PNG");
        of(b"\x40\0\0\0\0\0\0\0{\"x\":", "it is safetensors");
        of(b"hello\n", "text");
        of(&[0xfe; 80], "something else");
        for end in 1..8 {
            let whole = clip();
            let found = complaint(&whole[..whole.len() - end], None);
            assert!(found.contains("frame 1"), "{end}: {found}");
        }
        assert!(complaint(b"YUV4MPEG2 W2 H1 F5:1 C420p10\n", None).contains("C420p10"));
        assert!(complaint(b"YUV4MPEG2 W2 H1 F5:1 Cmono\n", None).contains("it has no frames"));
    }
}
