//! PNG, a clip of one picture, and animated PNG (APNG: PNG, third edition, 11.3.7): its frames as
//! they are shown.
//!
//! Transparency is dropped, 16 bits become 8, gray becomes RGB.

use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use png::{BitDepth, BlendOp, ColorType, DisposeOp, OutputInfo, Transformations};

use super::animation::{Blend, Canvas, Delays, Dispose, Rectangle, whole_frames};
use super::clip_file::{ClipFile, FileBytes};
use super::orientation::Orientation;
use super::pictures::{PictureShape, PictureSource};
use super::reader::{MAX_PIXELS, check_size};
use crate::error::{Error, Result, bad};

/// Bytes of a pixel, at most: 16 bits of RGBA.
const MAX_PIXEL_BYTES: usize = 8;
/// Bytes before the first chunk.
const SIGNATURE: u64 = 8;
/// Bytes of a chunk's length and kind, and of its checksum.
const HEADER: u64 = 8;
const CHECKSUM: u64 = 4;
/// Longer EXIF is not looked at; a segment of a JPEG cannot hold more.
const MAX_EXIF: u64 = 1 << 16;

pub(super) struct Png {
    path: PathBuf,
    reader: png::Reader<BufReader<FileBytes>>,
    shape: PictureShape,
    orientation: Orientation,
    /// Of an animation.
    canvas: Option<Canvas>,
    /// Pictures that are to be returned.
    frames: usize,
    done: usize,
}

impl Png {
    /// Looks at every chunk's head; the first `asked` frames will be read, or all.
    pub(super) fn open(clip: &ClipFile, asked: Option<usize>) -> Result<Png> {
        let path = &clip.name;
        let chunks = Chunks::of(clip)?;
        let reader = start(clip)?;
        let (width, height) = (reader.info().width as usize, reader.info().height as usize);
        let animation = reader.info().animation_control().map(|control| control.num_frames as usize);
        let frames = match animation {
            None => 1,
            Some(promised) if chunks.whole >= promised => promised,
            Some(_) => whole_frames(path, "PNG", chunks.whole, asked)?,
        };
        let rate = animation.and_then(|_| chunks.delays.rate());
        let canvas = animation.map(|_| Canvas::new(width, height));
        let shape = PictureShape { width, height, frames: Some(frames), rate };
        let path = path.to_path_buf();
        Ok(Png { path, reader, shape, orientation: chunks.orientation, canvas, frames, done: 0 })
    }

    /// How its pictures are to be turned.
    pub(super) fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The next picture as it is stored, of an animation a part of the canvas.
    fn decode(&mut self) -> Result<(OutputInfo, Vec<u8>), png::DecodingError> {
        let size = self.reader.output_buffer_size().ok_or(png::DecodingError::LimitsExceeded)?;
        let mut pixels = vec![0; size];
        let picture = self.reader.next_frame(&mut pixels)?;
        pixels.truncate(picture.buffer_size());
        if picture.bit_depth == BitDepth::Sixteen {
            // x / 257, rounded.
            let eight = |word: &[u8; 2]| ((u32::from(u16::from_be_bytes(*word)) * 255 + 32895) >> 16) as u8;
            pixels = pixels.as_chunks().0.iter().map(eight).collect();
        }
        Ok((picture, pixels))
    }

    /// Paints the next frame of the animation.
    fn paint(&mut self, canvas: &mut Canvas) -> Result<(), png::DecodingError> {
        // The picture for those that know no animations is passed over, if it is no frame.
        if self.done > 0 || self.reader.info().frame_control().is_none() {
            self.reader.next_frame_info()?;
        }
        let Some(control) = self.reader.info().frame_control().copied() else {
            return Err(png::DecodingError::LimitsExceeded);
        };
        let (picture, pixels) = self.decode()?;
        let place = Rectangle {
            left: control.x_offset as usize,
            top: control.y_offset as usize,
            width: picture.width as usize,
            height: picture.height as usize,
        };
        let blend = match control.blend_op {
            BlendOp::Source => Blend::Replace,
            BlendOp::Over => Blend::Over,
        };
        let dispose = match control.dispose_op {
            DisposeOp::None => Dispose::Keep,
            DisposeOp::Background => Dispose::Clear,
            DisposeOp::Previous => Dispose::Restore,
        };
        canvas.paint(place, &rgba(picture.color_type, pixels), blend, dispose);
        Ok(())
    }
}

/// A decoder that has read the head.
fn start(clip: &ClipFile) -> Result<png::Reader<BufReader<FileBytes>>> {
    let path = &clip.name;
    let limits = png::Limits { bytes: MAX_PIXELS as usize * MAX_PIXEL_BYTES };
    let mut decoder = png::Decoder::new_with_limits(BufReader::new(clip.bytes()), limits);
    // Palettes become RGB and fewer bits become eight.
    decoder.set_transformations(Transformations::EXPAND);
    let reader = decoder.read_info().map_err(|cause| failed(path, cause))?;
    check_size(path, u64::from(reader.info().width), u64::from(reader.info().height))?;
    Ok(reader)
}

fn failed(path: &Path, cause: png::DecodingError) -> Error {
    match cause {
        png::DecodingError::IoError(cause) if cause.kind() != ErrorKind::UnexpectedEof => {
            files::Error::Read { path: path.into(), cause }.into()
        }
        cause => bad(path, format!("the PNG is damaged or cut off: {cause}")),
    }
}

fn rgb(colour: ColorType, pixels: Vec<u8>) -> Vec<u8> {
    match colour {
        ColorType::Grayscale => pixels.iter().flat_map(|&gray| [gray; 3]).collect(),
        ColorType::GrayscaleAlpha => pixels.as_chunks::<2>().0.iter().flat_map(|&[gray, _]| [gray; 3]).collect(),
        ColorType::Rgba => pixels.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect(),
        // Indices have been expanded.
        ColorType::Rgb | ColorType::Indexed => pixels,
    }
}

fn rgba(colour: ColorType, pixels: Vec<u8>) -> Vec<u8> {
    match colour {
        ColorType::Grayscale => pixels.iter().flat_map(|&gray| [gray, gray, gray, 255]).collect(),
        ColorType::GrayscaleAlpha => {
            pixels.as_chunks::<2>().0.iter().flat_map(|&[gray, alpha]| [gray, gray, gray, alpha]).collect()
        }
        ColorType::Rgba => pixels,
        ColorType::Rgb | ColorType::Indexed => {
            pixels.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect()
        }
    }
}

impl PictureSource for Png {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        if self.done == self.frames {
            return Ok(false);
        }
        match self.canvas.take() {
            Some(mut canvas) => {
                self.paint(&mut canvas).map_err(|cause| failed(&self.path, cause))?;
                canvas.opaque(out);
                self.canvas = Some(canvas);
            }
            None => {
                let (picture, pixels) = self.decode().map_err(|cause| failed(&self.path, cause))?;
                *out = rgb(picture.color_type, pixels);
            }
        }
        self.done += 1;
        Ok(true)
    }
}

/// What the chunks of a file tell without their pixels.
struct Chunks {
    orientation: Orientation,
    /// Frames of an animation that are there from their first byte to their last.
    whole: usize,
    delays: Delays,
}

impl Chunks {
    /// Ends where the file does, whether or not it is whole.
    fn of(clip: &ClipFile) -> Result<Chunks> {
        let read_error = |cause| files::Error::Read { path: clip.name.clone(), cause };
        let mut file = BufReader::new(clip.bytes());
        let mut chunks = Chunks { orientation: Orientation::UPRIGHT, whole: 0, delays: Delays::default() };
        let mut begun = 0;
        let mut at = SIGNATURE;
        while at + HEADER + CHECKSUM <= clip.length {
            let mut header = [0; HEADER as usize];
            file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut header)).map_err(read_error)?;
            let [a, b, c, d, kind @ ..] = header;
            let size = u64::from(u32::from_be_bytes([a, b, c, d]));
            let mut content = |most: u64| {
                let mut bytes = vec![];
                (&mut file).take(size.min(most)).read_to_end(&mut bytes).map(|_| bytes).map_err(read_error)
            };
            at += HEADER + size + CHECKSUM;
            if at > clip.length {
                break;
            }
            match &kind {
                b"fcTL" => {
                    if let Some(&[a, b, c, d]) = content(26)?.get(20..24) {
                        let (part, of) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                        // By the specification, 0 is hundredths.
                        chunks.delays.add(f64::from(part) / f64::from(if of == 0 { 100 } else { of }));
                    }
                    // What belongs to the frame before is behind us.
                    (chunks.whole, begun) = (begun, begun + 1);
                }
                b"eXIf" if size <= MAX_EXIF => chunks.orientation = Orientation::of_exif(&content(MAX_EXIF)?),
                b"IEND" => {
                    chunks.whole = begun;
                    break;
                }
                _ => {}
            }
        }
        Ok(chunks)
    }
}
