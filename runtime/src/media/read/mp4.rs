//! MP4 and QuickTime files with H.264: the index of their samples, and frames in the order they are shown.
//!
//! Samples are stored in the order of decoding; a frame is held until no sample that is still to come is shown before it.
//! What the decoder cannot do is left to ffmpeg, also when it turns up on the way.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::num::NonZeroU32;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use rusty_h264::YuvFrame;
use shiguredo_mp4::aux::SampleTableAccessor;
use shiguredo_mp4::boxes::{Avc1Box, HdlrBox, MoovBox, SampleEntry, StblBox, TrakBox};
use shiguredo_mp4::{BaseBox, BoxType, Decode};

use super::ffmpeg::Ffmpeg;
use super::h264::{SampleDecoder, Signal, Trouble};
use super::pictures::{PictureShape, PictureSource};
use super::rgb::{Chroma, ColourSpace, YuvView, convert, matrix_of_code};
use super::{Fallback, bad, check_size, unsupported};
use crate::error::{Error, Result};
use crate::media::FrameRate;

/// Frames that may be stored before one that is shown before them: the size of a decoder's picture buffer (H.264, A.3.1).
const MAX_REORDER: u32 = 16;
/// Boxes at the top of a file, samples of a track, bytes of an index, bytes of a sample: what is beyond is damaged.
const MAX_BOXES: usize = 1 << 16;
const MAX_SAMPLES: u32 = 10_000_000;
const MAX_INDEX: u64 = 1 << 28;
const MAX_SAMPLE: u32 = 1 << 28;
/// Of a track's matrix, if its frames are shown as they are: 1.0 as 16.16 and as 2.30.
const UPRIGHT: [i32; 9] = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30];

pub(super) struct Mp4 {
    path: PathBuf,
    file: File,
    table: SampleTableAccessor<StblBox>,
    decoder: SampleDecoder,
    space: ColourSpace,
    chroma: Chroma,
    shape: PictureShape,
    /// When frames are shown that are not cut away, in the track's units.
    shown: Range<i64>,
    /// The next sample to decode, from 0.
    next: u32,
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
    pub(super) fn open(path: &Path, fallback: Fallback) -> Result<Mp4> {
        let read_error = |cause| Error::Read { path: path.into(), cause };
        let mut file = File::open(path).map_err(read_error)?;
        let length = file.metadata().map_err(read_error)?.len();
        let movie = read_index(path, &mut file, length)?;
        if movie.mvex_box.is_some() {
            return Err(unsupported(path, "it is a fragmented MP4"));
        }
        let movie_units = movie.mvhd_box.timescale;
        let is_video = |track: &TrakBox| track.mdia_box.hdlr_box.handler_type == HdlrBox::HANDLER_TYPE_VIDE;
        let track = movie.trak_boxes.into_iter().find(is_video).ok_or_else(|| bad(path, "it has no video track"))?;
        let mut matrix = track.tkhd_box.matrix;
        (matrix[6], matrix[7]) = (0, 0);
        if matrix != UPRIGHT {
            return Err(unsupported(path, "its frames are to be rotated or mirrored"));
        }
        let units = track.mdia_box.mdhd_box.timescale;
        let shown = shown(path, &track, movie_units, units)?;
        let table = guarded(|| SampleTableAccessor::new(track.mdia_box.minf_box.stbl_box))
            .map_err(|problem| bad(path, format!("its table of frames is damaged: {problem}")))?;
        let count = table.sample_count();
        if count == 0 {
            return Err(bad(path, "it has no frames"));
        }
        if count > MAX_SAMPLES {
            return Err(bad(path, format!("it says to have {count} frames; it is damaged")));
        }
        let entry = h264_entry(path, &table)?;
        let trouble = |trouble| match trouble {
            Trouble::Unsupported(what) => unsupported(path, format!("its H.264 has {what}, which is not decoded here")),
            Trouble::Damaged(what) => bad(path, format!("its H.264 is damaged: {what}")),
        };
        let decoder = SampleDecoder::new(&entry.avcc_box).map_err(trouble)?;
        let first_set = entry.avcc_box.sps_list.first();
        let signal = first_set.map(|set| Signal::read(set)).transpose().map_err(trouble)?.unwrap_or_default();
        let space = colour_space(path, signal, entry)?;
        let shape = PictureShape { width: 0, height: 0, frames: None, rate: rate(&table, units) };
        let mut clip = Mp4 {
            path: path.into(),
            file,
            table,
            decoder,
            space,
            chroma: signal.chroma(),
            shape,
            shown,
            next: 0,
            waiting: vec![],
            done: 0,
            last: None,
            fallback,
            ffmpeg: None,
        };
        clip.shape.frames = Some(clip.count(length)?);
        if clip.decode_due()? {
            let frame = &clip.waiting[0].1;
            check_size(path, frame.width as u64, frame.height as u64)?;
            (clip.shape.width, clip.shape.height) = (frame.width, frame.height);
        }
        Ok(clip)
    }

    /// Counts the frames that are shown, and checks that every sample is in the file.
    fn count(&self, length: u64) -> Result<usize> {
        let mut shown = 0;
        for index in 0..self.table.sample_count() {
            let (start, size) = self.place(index);
            if start.checked_add(size.into()).is_none_or(|end| end > length) {
                return Err(bad(
                    &self.path,
                    format!("it is cut off: stored frame {index} should end behind its {length} bytes"),
                ));
            }
            shown += usize::from(self.shown.contains(&self.time(index)));
        }
        Ok(shown)
    }

    /// Where the bytes of a sample are, and how many.
    fn place(&self, index: u32) -> (u64, u32) {
        let sample = self.table.get_sample(NonZeroU32::MIN.saturating_add(index));
        sample.map_or((0, 0), |sample| (sample.data_offset(), sample.data_size()))
    }

    /// When a sample is shown, in the track's units.
    fn time(&self, index: u32) -> i64 {
        self.table.get_sample(NonZeroU32::MIN.saturating_add(index)).map_or(0, |sample| {
            let decoded = i64::try_from(sample.timestamp()).unwrap_or(i64::MAX);
            decoded.saturating_add(sample.composition_time_offset().unwrap_or(0))
        })
    }

    /// Decodes until the first frame of `waiting` is the next to return; false if there is none any more.
    fn decode_due(&mut self) -> Result<bool> {
        loop {
            self.waiting.sort_by_key(|&(time, _)| time);
            if let Some(&(due, _)) = self.waiting.first() {
                let end = self.table.sample_count().min(self.next.saturating_add(MAX_REORDER));
                if (self.next..end).all(|later| self.time(later) >= due) {
                    if self.shown.contains(&due) {
                        return Ok(true);
                    }
                    self.waiting.remove(0);
                    continue;
                }
            } else if self.next == self.table.sample_count() {
                return Ok(false);
            }
            self.decode_next()?;
        }
    }

    /// Decodes the next stored sample into `waiting`.
    fn decode_next(&mut self) -> Result<()> {
        let index = self.next;
        let (start, size) = self.place(index);
        if size > MAX_SAMPLE {
            return Err(bad(&self.path, format!("stored frame {index} is {size} bytes long; it is damaged")));
        }
        let mut sample = vec![0; size as usize];
        let read = self.file.seek(SeekFrom::Start(start)).and_then(|_| self.file.read_exact(&mut sample));
        read.map_err(|cause| Error::Read { path: self.path.clone(), cause })?;
        let decoded = self.configure(index).and_then(|()| self.decoder.decode(&sample));
        let frame = decoded.map_err(|trouble| match trouble {
            Trouble::Unsupported(what) => unsupported(
                &self.path,
                format!("its H.264 has {what} in stored frame {index}, which is not decoded here"),
            ),
            Trouble::Damaged(what) => bad(&self.path, format!("its H.264 is damaged in stored frame {index}: {what}")),
        })?;
        self.waiting.push((self.time(index), frame));
        self.next += 1;
        Ok(())
    }

    /// Hands the decoder the configuration of a sample, if it differs from that of the one before.
    fn configure(&mut self, index: u32) -> Result<(), Trouble> {
        let entry = |index: u32| {
            let sample = self.table.get_sample(NonZeroU32::MIN.saturating_add(index))?;
            Some(sample.chunk().sample_entry())
        };
        let Some(now) = entry(index) else { return Ok(()) };
        if index == 0 || entry(index - 1) == Some(now) {
            return Ok(());
        }
        match now {
            SampleEntry::Avc1(avc) => self.decoder.configure(&avc.avcc_box),
            other => Err(Trouble::Unsupported(format!("{}, another codec,", codec(other)))),
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

/// Runs what parses a file for us; should it panic, the file is damaged.
fn guarded<T, E: ToString>(parse: impl FnOnce() -> Result<T, E> + std::panic::UnwindSafe) -> Result<T, String> {
    match catch_unwind(parse) {
        Ok(parsed) => parsed.map_err(|cause| cause.to_string()),
        Err(_) => Err("it cannot be parsed".into()),
    }
}

/// Finds and parses the box `moov`, passing over the others.
fn read_index(path: &Path, file: &mut File, length: u64) -> Result<MoovBox> {
    let mut at = 0;
    for _ in 0..MAX_BOXES {
        let Some((kind, size)) = box_at(path, file, at, length)? else {
            return Err(bad(path, "it has no index (`moov`); it is cut off, or was never finished"));
        };
        let known: [&[u8; 4]; 9] = [b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid"];
        if at == 0 && !known.contains(&&kind) {
            return Err(unsupported(path, "it is no MP4 or QuickTime file, or a damaged one"));
        }
        if size > length - at {
            return Err(bad(
                path,
                format!("it is cut off: box `{}` at {at} should end behind its {length} bytes", kind.escape_ascii()),
            ));
        }
        if &kind == b"moov" {
            if size > MAX_INDEX {
                return Err(bad(path, format!("its index says to be {size} bytes long; it is damaged")));
            }
            let mut bytes = vec![0; size as usize];
            let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
            read.map_err(|cause| Error::Read { path: path.into(), cause })?;
            return guarded(|| MoovBox::decode(&bytes))
                .map(|(movie, _)| movie)
                .map_err(|problem| unsupported(path, format!("its index is damaged or of a rare kind: {problem}")));
        }
        at += size;
    }
    Err(bad(path, "it has too many boxes; it is damaged"))
}

/// Kind and size, header included, of the box at `at` (ISO/IEC 14496-12, 4.2); `None` at the file's end.
fn box_at(path: &Path, file: &mut File, at: u64, length: u64) -> Result<Option<([u8; 4], u64)>> {
    const HEADER: u64 = 8;
    const LONG_HEADER: u64 = 16;
    if length - at < HEADER {
        return Ok(None);
    }
    let mut bytes = vec![];
    let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.take(LONG_HEADER).read_to_end(&mut bytes));
    read.map_err(|cause| Error::Read { path: path.into(), cause })?;
    let damaged = || bad(path, format!("the box at {at} is damaged"));
    let word = |at: usize| bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok()).ok_or_else(damaged);
    let kind = word(4)?;
    let size = match u32::from_be_bytes(word(0)?) {
        0 => length - at,
        1 => u64::from(u32::from_be_bytes(word(8)?)) << 32 | u64::from(u32::from_be_bytes(word(12)?)),
        size => size.into(),
    };
    if size < HEADER { Err(damaged()) } else { Ok(Some((kind, size))) }
}

/// The times of frames that an edit list leaves (ISO/IEC 14496-12, 8.6.6).
fn shown(path: &Path, track: &TrakBox, movie_units: NonZeroU32, units: NonZeroU32) -> Result<Range<i64>> {
    let edits = track.edts_box.as_ref().and_then(|edits| edits.elst_box.as_ref());
    // A negative time is a pause before the clip.
    let mut edits = edits.into_iter().flat_map(|list| &list.entries).filter(|edit| edit.media_time >= 0);
    let Some(edit) = edits.next() else { return Ok(i64::MIN..i64::MAX) };
    if edits.next().is_some() {
        return Err(unsupported(path, "it is cut together by an edit list of several parts"));
    }
    let duration = u128::from(edit.edit_duration) * u128::from(units.get());
    let duration = match i64::try_from(duration.div_ceil(movie_units.get().into())) {
        Ok(duration) if duration > 0 => duration,
        // None given, or beyond any clip.
        _ => i64::MAX,
    };
    Ok(edit.media_time..edit.media_time.saturating_add(duration))
}

/// The description of the first sample, if it is H.264.
fn h264_entry<'a>(path: &Path, table: &'a SampleTableAccessor<StblBox>) -> Result<&'a Avc1Box> {
    match table.get_sample(NonZeroU32::MIN).map(|sample| sample.chunk().sample_entry()) {
        Some(SampleEntry::Avc1(entry)) => Ok(entry),
        Some(other) => Err(unsupported(path, format!("its video is {}, and H.264 is decoded here", codec(other)))),
        None => Err(bad(path, "it has no frames")),
    }
}

/// A codec's name for messages.
fn codec(entry: &SampleEntry) -> String {
    match entry {
        SampleEntry::Hev1(_) | SampleEntry::Hvc1(_) => "H.265 (HEVC)".into(),
        SampleEntry::Vp08(_) => "VP8".into(),
        SampleEntry::Vp09(_) => "VP9".into(),
        SampleEntry::Av01(_) => "AV1".into(),
        other => format!("`{}`", String::from_utf8_lossy(other.box_type().as_bytes())),
    }
}

/// The stream's own word, else the container's (`colr`), else none.
fn colour_space(path: &Path, signal: Signal, entry: &Avc1Box) -> Result<ColourSpace> {
    const UNSPECIFIED: u8 = 2;
    let of_container = entry.unknown_boxes.iter().find_map(|colours| {
        let is_colours = colours.box_type == BoxType::Normal(*b"colr");
        let fields = colours.payload.strip_prefix(b"nclx").filter(|_| is_colours)?;
        // Primaries, transfer, matrix in two bytes each, then the range's bit.
        Some((*fields.get(5)?, fields.get(6).is_some_and(|byte| byte >> 7 == 1)))
    });
    let code = signal.matrix.filter(|&code| code != UNSPECIFIED).or(of_container.map(|(code, _)| code));
    let code = code.unwrap_or(UNSPECIFIED);
    let matrix = matrix_of_code(code).ok_or_else(|| {
        unsupported(path, format!("its colours are of matrix {code} (ITU-T H.273), which is not known here"))
    })?;
    let full_range = signal.full_range.or(of_container.map(|(_, full)| full)).unwrap_or(false);
    Ok(ColourSpace { matrix, full_range })
}

/// Frames a second, on average.
fn rate(table: &SampleTableAccessor<StblBox>, units: NonZeroU32) -> Option<FrameRate> {
    let last = table.get_sample(NonZeroU32::new(table.sample_count())?)?;
    let duration = last.timestamp() as f64 + f64::from(last.duration());
    FrameRate::new(f64::from(table.sample_count()) * f64::from(units.get()) / duration).ok()
}

#[cfg(test)]
mod tests;
