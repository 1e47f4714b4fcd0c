//! MP4 and QuickTime files with H.264: frames in the order they are shown.
//!
//! Samples are stored in the order of decoding; a frame is held until no sample that is still to
//! come is shown before it. What the decoder cannot do is left to ffmpeg, also when it turns up on
//! the way.
//!
//! Where the samples are is found by [`scan`]: along the boxes of the file ([`boxes`]), in the
//! video track's index ([`index`], [`description`]) and, where there are any, in its fragments
//! ([`fragments`]).

mod boxes;
mod description;
mod fragments;
mod index;
mod scan;

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rusty_h264::YuvFrame;

use super::clip_file::{ClipFile, FileBytes};
use super::ffmpeg::{Fallback, Ffmpeg};
use super::h264::{SampleDecoder, Signal, Trouble};
use super::pictures::{PictureShape, PictureSource};
use super::reader::check_size;
use super::rgb::{Chroma, ColourSpace, YuvView, convert};
use crate::colour::{BT601, BT709, Matrix};
use crate::error::{Error, Result, bad, unsupported};
use description::Colours;
use index::Track;

/// Frames that may be stored before one that is shown before them: the size of a decoder's picture
/// buffer (H.264, A.3.1).
const MAX_REORDER: usize = 16;
/// Bytes of a sample: what is beyond is damaged.
const MAX_SAMPLE: u32 = 1 << 28;

pub(super) struct Mp4 {
    path: PathBuf,
    file: FileBytes,
    track: Track,
    decoder: SampleDecoder,
    space: ColourSpace,
    chroma: Chroma,
    shape: PictureShape,
    /// The next sample to decode.
    next: usize,
    /// Decoded and not due yet, with the time each is shown.
    waiting: Vec<(i64, YuvFrame)>,
    /// Frames returned, and when the last of them is shown.
    done: usize,
    last: Option<i64>,
    /// Who goes on where our decoder cannot.
    fallback: Fallback,
    /// What goes on where our decoder could not.
    ffmpeg: Option<Ffmpeg>,
}

impl Mp4 {
    /// Reads the index and decodes the first frame, so that most of what can be wrong is found now.
    ///
    /// # Errors
    /// [`Error::UnsupportedInput`] if ffmpeg may help.
    pub(super) fn open(clip: &ClipFile, fallback: Fallback) -> Result<Mp4> {
        let path = &clip.name;
        let mut file = clip.bytes();
        let track = scan::read_track(path, &mut file, clip.length)?;
        let first = &track.samples[0];
        let description = &track.descriptions[first.description as usize];
        let config = description.h264().map_err(|trouble| match trouble {
            Trouble::Unsupported(what) => unsupported(path, what),
            Trouble::Damaged(what) => bad(path, what),
        })?;
        let trouble = |trouble| match trouble {
            Trouble::Unsupported(what) => unsupported(path, format!("its H.264 has {what}, which is not decoded here")),
            Trouble::Damaged(what) => bad(path, format!("its H.264 is damaged: {what}")),
        };
        let decoder = SampleDecoder::new(config).map_err(trouble)?;
        let signal = match config.sps_list.first() {
            Some(set) => Signal::read(set),
            None => decoder.signal(&read_sample(path, &mut file, &track, 0)?),
        };
        let signal = signal.map_err(trouble)?;
        let space = colour_space(path, signal, description.colours)?;
        let frames = track.samples.iter().filter(|sample| track.shown.contains(&sample.time)).count();
        let shape = PictureShape { width: 0, height: 0, frames: Some(frames), rate: track.rate() };
        let mut mp4 = Mp4 {
            path: path.into(),
            file,
            track,
            decoder,
            space,
            chroma: signal.chroma(),
            shape,
            next: 0,
            waiting: vec![],
            done: 0,
            last: None,
            fallback,
            ffmpeg: None,
        };
        if mp4.decode_due()? {
            let frame = &mp4.waiting[0].1;
            check_size(path, frame.width as u64, frame.height as u64)?;
            (mp4.shape.width, mp4.shape.height) = (frame.width, frame.height);
        }
        Ok(mp4)
    }

    /// Decodes until the first frame of `waiting` is the next to return; false if there is none any
    /// more.
    fn decode_due(&mut self) -> Result<bool> {
        loop {
            self.waiting.sort_by_key(|&(time, _)| time);
            let later = &self.track.samples[self.next..];
            if let Some(&(due, _)) = self.waiting.first() {
                if later.iter().take(MAX_REORDER).all(|sample| sample.time >= due) {
                    if self.track.shown.contains(&due) {
                        return Ok(true);
                    }
                    self.waiting.remove(0);
                    continue;
                }
            } else if later.is_empty() {
                return Ok(false);
            }
            self.decode_next()?;
        }
    }

    /// Decodes the next stored sample into `waiting`.
    fn decode_next(&mut self) -> Result<()> {
        let index = self.next;
        let sample = read_sample(&self.path, &mut self.file, &self.track, index)?;
        let decoded = self.configure(index).and_then(|()| self.decoder.decode(&sample));
        let frame = decoded.map_err(|trouble| match trouble {
            Trouble::Unsupported(what) => unsupported(
                &self.path,
                format!("its H.264 has {what} in stored frame {index}, which is not decoded here"),
            ),
            Trouble::Damaged(what) => bad(&self.path, format!("its H.264 is damaged in stored frame {index}: {what}")),
        })?;
        self.waiting.push((self.track.samples[index].time, frame));
        self.next += 1;
        Ok(())
    }

    /// Hands the decoder the configuration of a sample, if it differs from that of the one before.
    fn configure(&mut self, index: usize) -> Result<(), Trouble> {
        let description = |index: usize| self.track.samples[index].description;
        let now = description(index);
        match index > 0 && description(index - 1) != now {
            true => self.decoder.configure(self.track.descriptions[now as usize].h264()?),
            false => Ok(()),
        }
    }

    /// Fills `rgb` with the next frame; false behind the last.
    fn decoded(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        if !self.decode_due()? {
            return Ok(false);
        }
        let (time, frame) = self.waiting.remove(0);
        let done = self.done;
        if self.last.is_some_and(|last| time < last) {
            return Err(bad(
                &self.path,
                format!("its frames are stored in an order that H.264 does not allow, at frame {done}"),
            ));
        }
        let PictureShape { width, height, .. } = self.shape;
        if (frame.width, frame.height) != (width, height) {
            let problem = format!(
                "frame {done} is {}x{} (width x height), those before are {width}x{height}",
                frame.width, frame.height
            );
            return Err(bad(&self.path, problem));
        }
        self.last = Some(time);
        let chroma = Some((&frame.u[..], &frame.v[..], self.chroma));
        convert(YuvView { width, height, luma: &frame.y, chroma }, self.space, rgb);
        Ok(true)
    }

    /// Lets ffmpeg return the frame that is due, and all behind it.
    fn go_on_with_ffmpeg(&mut self, reason: &str, rgb: &mut Vec<u8>) -> Result<bool> {
        let mut ffmpeg = self.fallback.open(&self.path, reason)?;
        let found = ffmpeg.shape();
        if (found.width, found.height) != (self.shape.width, self.shape.height) {
            return Err(unsupported(&self.path, format!("{reason}, and ffmpeg decodes it to another size")));
        }
        self.waiting.clear();
        for _ in 0..self.done {
            ffmpeg.next(rgb)?;
        }
        self.ffmpeg.insert(ffmpeg).next(rgb)
    }
}

impl PictureSource for Mp4 {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        let more = match &mut self.ffmpeg {
            Some(ffmpeg) => ffmpeg.next(rgb)?,
            None => match self.decoded(rgb) {
                Err(Error::UnsupportedInput { problem, .. }) => self.go_on_with_ffmpeg(&problem, rgb)?,
                other => other?,
            },
        };
        self.done += usize::from(more);
        Ok(more)
    }
}

/// The bytes of a sample.
fn read_sample(path: &Path, file: &mut FileBytes, track: &Track, index: usize) -> Result<Vec<u8>> {
    let sample = track.samples[index];
    if sample.size > MAX_SAMPLE {
        return Err(bad(path, format!("stored frame {index} is {} bytes long; it is damaged", sample.size)));
    }
    let mut bytes = vec![0; sample.size as usize];
    let read = file.seek(SeekFrom::Start(sample.start)).and_then(|_| file.read_exact(&mut bytes));
    read.map_err(|cause| files::Error::Read { path: path.into(), cause })?;
    Ok(bytes)
}

/// The matrix of a code of ITU-T H.273 (07/2021), table 4; `None` for those that are no luma
/// weights.
fn matrix_of_code(code: u8) -> Option<Matrix> {
    Some(match code {
        1 => BT709,
        2 | 5 | 6 => BT601,
        4 => Matrix { red: 0.30, blue: 0.11 },
        7 => Matrix { red: 0.212, blue: 0.087 },
        9 => Matrix { red: 0.2627, blue: 0.0593 },
        _ => return None,
    })
}

/// What the stream says, else what the container says, else what an unmarked clip is taken for.
fn colour_space(path: &Path, signal: Signal, colours: Option<Colours>) -> Result<ColourSpace> {
    const UNSPECIFIED: u16 = 2;
    // Of ITU-T H.273, 3 and codes from 18 on are reserved.
    let specified = |&code: &u16| !matches!(code, UNSPECIFIED | 3 | 18..);
    let of_stream = signal.matrix.map(u16::from).filter(specified);
    let code = of_stream.or(colours.map(|colours| colours.matrix).filter(specified)).unwrap_or(UNSPECIFIED);
    let matrix = u8::try_from(code).ok().and_then(matrix_of_code).ok_or_else(|| {
        unsupported(path, format!("its colours are of matrix {code} (ITU-T H.273), which is not known here"))
    })?;
    let full_range = signal.full_range.or(colours.and_then(|colours| colours.full_range)).unwrap_or(false);
    Ok(ColourSpace { matrix, full_range })
}

#[cfg(test)]
mod tests;
