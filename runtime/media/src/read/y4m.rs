//! Y4M (YUV4MPEG2): uncompressed planes of 8 bits: 4:4:4, 4:2:2, 4:2:0, gray.
//!
//! The format names no matrix: [`ColourSpace::UNSPECIFIED`], as ffmpeg takes it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use super::clip_file::{ClipFile, FileBytes};
use super::pictures::{PictureShape, PictureSource};
use super::reader::check_size;
use super::rgb::{Chroma, ColourSpace, Siting, YuvView, convert};
use crate::error::{Result, bad, unsupported};
use crate::frame_rate::FrameRate;

/// A line of the file, at most.
const MAX_LINE: u64 = 4096;

pub(super) struct Y4m {
    path: PathBuf,
    file: BufReader<FileBytes>,
    header: Header,
    frames: usize,
    done: usize,
    planes: Vec<u8>,
}

/// What stands in front of the frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    width: usize,
    height: usize,
    rate: Option<FrameRate>,
    chroma: Option<Chroma>,
    space: ColourSpace,
}

impl Header {
    /// Reads the first line of a clip, which `path` stands for in messages.
    pub(super) fn parse(path: &Path, line: &str) -> Result<Header> {
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err(bad(path, "it does not begin with YUV4MPEG2; it is damaged or no .y4m file"));
        }
        let (mut width, mut height, mut rate, mut space) = (0, 0, None, ColourSpace::UNSPECIFIED);
        let mut layout = "420jpeg";
        for word in words {
            let Some((tag, value)) = word.split_at_checked(1) else { continue };
            match tag {
                "W" => width = value.parse().unwrap_or(0),
                "H" => height = value.parse().unwrap_or(0),
                "F" => rate = parse_rate(value),
                "C" => layout = value,
                "X" if value == "COLORRANGE=FULL" => space.full_range = true,
                _ => {}
            }
        }
        check_size(path, width, height)?;
        let (across, down) = match layout {
            "444" => (Siting::Full, Siting::Full),
            "422" => (Siting::First, Siting::Full),
            "420" | "420jpeg" => (Siting::Between, Siting::Between),
            "420mpeg2" => (Siting::First, Siting::Between),
            "420paldv" => (Siting::First, Siting::First),
            "mono" => (Siting::Full, Siting::Full),
            other => {
                return Err(unsupported(
                    path,
                    format!("its planes are C{other}; 8 bits of 444, 422, 420 or mono are read"),
                ));
            }
        };
        let chroma = (layout != "mono").then_some(Chroma { across, down });
        Ok(Header { width: width as usize, height: height as usize, rate, chroma, space })
    }

    fn chroma_size(&self) -> usize {
        let samples = |chroma: Chroma| chroma.across.samples(self.width) * chroma.down.samples(self.height);
        self.chroma.map_or(0, samples)
    }

    /// Bytes of a frame's planes.
    pub(super) fn frame_size(&self) -> usize {
        self.width * self.height + 2 * self.chroma_size()
    }
}

impl Y4m {
    /// Looks at the place of every frame, so that a file that is cut off is found now.
    pub(super) fn open(clip: &ClipFile) -> Result<Y4m> {
        let path = &clip.name;
        let mut file = BufReader::new(clip.bytes());
        let first = line(&mut file).map_err(|cause| files::Error::Read { path: path.into(), cause })?;
        let header = Header::parse(path, &first.unwrap_or_default())?;
        let mut y4m = Y4m { path: path.into(), file, header, frames: 0, done: 0, planes: vec![] };
        y4m.frames = y4m.count(clip.length)?;
        Ok(y4m)
    }

    /// Counts frames and returns to the first.
    fn count(&mut self, length: u64) -> Result<usize> {
        let read_error = |cause| files::Error::Read { path: self.path.clone(), cause };
        let size = self.header.frame_size();
        let start = self.file.stream_position().map_err(read_error)?;
        let mut frames = 0;
        let mut at = start;
        while let Some(header) = line(&mut self.file).map_err(read_error)? {
            check_frame_line(&self.path, &header, frames)?;
            at += header.len() as u64 + 1 + size as u64;
            if at > length {
                return Err(bad(&self.path, format!("it is cut off in frame {frames}")));
            }
            self.file.seek_relative(size as i64).map_err(read_error)?;
            frames += 1;
        }
        self.file.seek(io::SeekFrom::Start(start)).map_err(read_error)?;
        Ok(frames)
    }
}

impl PictureSource for Y4m {
    fn shape(&self) -> PictureShape {
        let Header { width, height, rate, .. } = self.header;
        PictureShape { width, height, frames: Some(self.frames), rate }
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        let path = &self.path;
        let read_error = |cause: io::Error| match cause.kind() {
            ErrorKind::UnexpectedEof => bad(path, "it became shorter while it was read"),
            _ => files::Error::Read { path: path.clone(), cause }.into(),
        };
        let Some(header) = line(&mut self.file).map_err(read_error)? else { return Ok(false) };
        check_frame_line(path, &header, self.done)?;
        self.done += 1;
        let Header { width, height, chroma, space, .. } = self.header;
        self.planes.resize(self.header.frame_size(), 0);
        self.file.read_exact(&mut self.planes).map_err(read_error)?;
        let (luma, rest) = self.planes.split_at(width * height);
        let (blue, red) = rest.split_at(self.header.chroma_size());
        let chroma = chroma.map(|chroma| (blue, red, chroma));
        convert(YuvView { width, height, luma, chroma }, space, rgb);
        Ok(true)
    }
}

/// The next line without its end, or `None` at the file's end. A line that is too long or not ended
/// is cut, and so fits nothing that is expected.
pub(super) fn line(file: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = vec![];
    if file.take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        bytes.clear();
    }
    Ok(Some(String::from_utf8(bytes).unwrap_or_default()))
}

pub(super) fn check_frame_line(path: &Path, line: &str, frame: usize) -> Result<()> {
    match line == "FRAME" || line.starts_with("FRAME ") {
        true => Ok(()),
        false => Err(bad(path, format!("no FRAME line where frame {frame} should begin; it is damaged or cut off"))),
    }
}

/// `30000:1001`; 0:0 is unknown.
fn parse_rate(text: &str) -> Option<FrameRate> {
    let (frames, seconds) = text.split_once(':')?;
    FrameRate::new(frames.parse::<u32>().ok()? as f64 / f64::from(seconds.parse::<u32>().ok()?)).ok()
}
