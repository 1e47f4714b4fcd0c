//! WebP, a clip of one picture, and animated WebP: its frames as they are shown. Transparency is
//! dropped.
//!
//! The chunks (RFC 9649, 2) are read here and the picture in them by a decoder of stills, so that
//! frames are disposed of as the specification has it.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use image_webp::{DecodingError, WebPDecoder};

use super::animation::{Blend, Canvas, Delays, Dispose, Rectangle, whole_frames};
use super::clip_file::{ClipFile, FileBytes};
use super::orientation::Orientation;
use super::pictures::{PictureShape, PictureSource};
use super::reader::check_size;
use crate::error::{Error, Result, bad};

/// Bytes before the first chunk, of a chunk's kind and length, of what an `ANMF` says of its frame.
const SIGNATURE: u64 = 12;
const HEADER: u64 = 8;
const FRAME_HEADER: u64 = 16;
/// Chunks of a file, at most.
const MAX_CHUNKS: usize = 1 << 20;
/// Longer EXIF is not looked at; a segment of a JPEG cannot hold more.
const MAX_EXIF: u64 = 1 << 16;
/// Of the flags in `VP8X`: some pixels are transparent.
const ALPHA: u8 = 1 << 4;

pub(super) struct WebP {
    path: PathBuf,
    file: FileBytes,
    shape: PictureShape,
    orientation: Orientation,
    content: Content,
    done: usize,
}

enum Content {
    Still(Picture),
    Animation { canvas: Canvas, frames: Vec<Frame> },
}

/// Chunks that make one picture, and where they are.
type Picture = Vec<(Kind, Range<u64>)>;
type Kind = [u8; 4];

/// What an `ANMF` holds.
struct Frame {
    place: Rectangle,
    blend: Blend,
    dispose: Dispose,
    picture: Picture,
}

impl WebP {
    /// Looks at every chunk's head; the first `asked` frames will be read, or all.
    pub(super) fn open(clip: &ClipFile, asked: Option<usize>) -> Result<WebP> {
        let path = &clip.name;
        let read_error = |cause| files::Error::Read { path: path.into(), cause };
        let mut file = clip.bytes();
        let Chunks { canvas, animated, mut frames, delays, still, exif, cut_off } =
            Chunks::of(&mut file, clip.length).map_err(read_error)?;
        let orientation = exif.map_or(Orientation::UPRIGHT, |exif| Orientation::of_exif(&exif));
        let (size, count, rate, content) = match canvas.filter(|_| animated) {
            Some((width, height)) => {
                check_size(path, width as u64, height as u64)?;
                let count = if cut_off { whole_frames(path, "WebP", frames.len(), asked)? } else { frames.len() };
                frames.truncate(count);
                (
                    (width, height),
                    count,
                    delays.rate(),
                    Content::Animation { canvas: Canvas::new(width, height), frames },
                )
            }
            None => {
                let bytes = picture_file(&mut file, &still).map_err(read_error)?;
                let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|cause| failed(path, cause))?;
                let (width, height) = decoder.dimensions();
                check_size(path, width.into(), height.into())?;
                ((width as usize, height as usize), 1, None, Content::Still(still))
            }
        };
        let shape = PictureShape { width: size.0, height: size.1, frames: Some(count), rate };
        Ok(WebP { path: path.into(), file, shape, orientation, content, done: 0 })
    }

    /// How its pictures are to be turned.
    pub(super) fn orientation(&self) -> Orientation {
        self.orientation
    }
}

fn failed(path: &Path, cause: impl std::fmt::Display) -> Error {
    bad(path, format!("the WebP is damaged or cut off: {cause}"))
}

/// The pixels of a picture of this size, RGBA.
fn decode(file: &mut FileBytes, picture: &Picture, (width, height): (usize, usize)) -> Result<Vec<u8>, DecodingError> {
    let mut decoder = WebPDecoder::new(Cursor::new(picture_file(file, picture)?))?;
    let (found_width, found_height) = decoder.dimensions();
    if (found_width as usize, found_height as usize) != (width, height) {
        return Err(DecodingError::InconsistentImageSizes);
    }
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or(DecodingError::ImageTooLarge)?];
    decoder.read_image(&mut pixels)?;
    if decoder.has_alpha() {
        return Ok(pixels);
    }
    Ok(pixels.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect())
}

/// A file of nothing but this picture.
fn picture_file(file: &mut FileBytes, picture: &Picture) -> std::io::Result<Vec<u8>> {
    let mut body = b"WEBP".to_vec();
    let mut chunk = |kind: &Kind, content: &[u8]| {
        body.extend(kind);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(content);
        body.resize(body.len().next_multiple_of(2), 0);
    };
    let mut contents = vec![];
    for (kind, range) in picture {
        let mut content = vec![];
        file.seek(SeekFrom::Start(range.start))?;
        file.take(range.end - range.start).read_to_end(&mut content)?;
        contents.push((kind, content));
    }
    // Transparency beside a lossy picture needs a head that announces it; the size in it is the
    // picture's own.
    let lossy = contents.iter().find(|(kind, _)| *kind == b"VP8 ");
    let size = lossy.and_then(|(_, content)| content.get(6..10));
    let with_alpha = contents.iter().any(|(kind, _)| *kind == b"ALPH");
    if let (true, Some(&[a, b, c, d])) = (with_alpha, size) {
        let less_one = |low, high| ((u16::from_le_bytes([low, high]) & 0x3fff).saturating_sub(1)).to_le_bytes();
        let ([w0, w1], [h0, h1]) = (less_one(a, b), less_one(c, d));
        chunk(b"VP8X", &[ALPHA, 0, 0, 0, w0, w1, 0, h0, h1, 0]);
    } else {
        contents.retain(|(kind, _)| *kind != b"ALPH");
    }
    contents.iter().for_each(|(kind, content)| chunk(kind, content));
    Ok([b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat())
}

impl PictureSource for WebP {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        if self.shape.frames == Some(self.done) {
            return Ok(false);
        }
        let PictureShape { width, height, .. } = self.shape;
        let file = &mut self.file;
        let done = self.done;
        match &mut self.content {
            Content::Still(picture) => {
                let pixels = decode(file, picture, (width, height)).map_err(|cause| failed(&self.path, cause))?;
                rgb.clear();
                rgb.extend(pixels.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]));
            }
            Content::Animation { canvas, frames } => {
                let Frame { place, blend, dispose, picture } = &frames[done];
                if place.left + place.width > width || place.top + place.height > height {
                    return Err(bad(&self.path, format!("the WebP is damaged: frame {done} juts out of the picture")));
                }
                let pixels = decode(file, picture, (place.width, place.height)).map_err(|cause| {
                    bad(&self.path, format!("the WebP is damaged or cut off in frame {done}: {cause}"))
                })?;
                canvas.paint(*place, &pixels, *blend, *dispose);
                canvas.opaque(rgb);
            }
        }
        self.done += 1;
        Ok(true)
    }
}

/// What the chunks of a file tell without their pixels.
#[derive(Default)]
struct Chunks {
    /// Width and height, where the file says them beside the picture's own.
    canvas: Option<(usize, usize)>,
    animated: bool,
    /// Those that are there from their first byte to their last.
    frames: Vec<Frame>,
    delays: Delays,
    /// The chunks of a picture outside of frames.
    still: Picture,
    exif: Option<Vec<u8>>,
    /// Whether the file ends before it should.
    cut_off: bool,
}

impl Chunks {
    fn of(file: &mut FileBytes, length: u64) -> std::io::Result<Chunks> {
        let mut chunks = Chunks::default();
        let mut head = vec![];
        file.take(SIGNATURE).read_to_end(&mut head)?;
        let end = head.get(4..8).map_or(0, |size| u64::from(word(size)) + HEADER);
        // A last byte that only makes the length even is missed by nobody.
        chunks.cut_off = end > length + 1;
        for (kind, range) in walk(file, SIGNATURE..end.min(length + 1))? {
            let whole = range.end <= length;
            let mut content = |from: u64, most: u64| -> std::io::Result<Vec<u8>> {
                let mut bytes = vec![];
                file.seek(SeekFrom::Start(range.start + from))?;
                (&mut *file).take(most.min((range.end - range.start).saturating_sub(from))).read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            match &kind {
                b"VP8X" => {
                    if let Some(&[flags, _, _, _, a, b, c, d, e, f]) = content(0, 10)?.first_chunk::<10>() {
                        chunks.animated = flags & 2 != 0;
                        chunks.canvas = Some((triple([a, b, c]) + 1, triple([d, e, f]) + 1));
                    }
                }
                b"ANMF" if whole => {
                    let head = content(0, FRAME_HEADER)?;
                    let Some(head) = head.first_chunk::<16>() else { continue };
                    let at = |at: usize| triple([head[at], head[at + 1], head[at + 2]]);
                    let place = Rectangle { left: at(0) * 2, top: at(3) * 2, width: at(6) + 1, height: at(9) + 1 };
                    chunks.delays.add(at(12) as f64 / 1000.0);
                    let picture = walk(file, range.start + FRAME_HEADER..range.end)?;
                    chunks.frames.push(Frame {
                        place,
                        blend: if head[15] & 2 == 0 { Blend::Over } else { Blend::Replace },
                        dispose: if head[15] & 1 == 0 { Dispose::Keep } else { Dispose::Clear },
                        picture: picture.into_iter().filter(|(kind, _)| is_picture(kind)).collect(),
                    });
                }
                b"EXIF" if whole && range.end - range.start <= MAX_EXIF => chunks.exif = Some(content(0, MAX_EXIF)?),
                kind if is_picture(kind) => chunks.still.push((*kind, range)),
                _ => {}
            }
            chunks.cut_off |= !whole;
        }
        Ok(chunks)
    }
}

fn is_picture(kind: &Kind) -> bool {
    [b"VP8 ", b"VP8L", b"ALPH"].contains(&kind)
}

/// The chunks in a part of the file, and where their contents are; the last one may end behind the
/// part.
fn walk(file: &mut FileBytes, part: Range<u64>) -> std::io::Result<Vec<(Kind, Range<u64>)>> {
    let mut chunks = vec![];
    let mut at = part.start;
    while at + HEADER <= part.end && chunks.len() < MAX_CHUNKS {
        let mut header = vec![];
        file.seek(SeekFrom::Start(at))?;
        (&mut *file).take(HEADER).read_to_end(&mut header)?;
        let Some(&[a, b, c, d, ref size @ ..]) = header.first_chunk::<8>() else { break };
        let start = at + HEADER;
        let end = start + u64::from(word(size));
        chunks.push(([a, b, c, d], start..end));
        at = end.next_multiple_of(2);
    }
    Ok(chunks)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn triple([a, b, c]: [u8; 3]) -> usize {
    u32::from_le_bytes([a, b, c, 0]) as usize
}
