//! A file's index (`moov`): the video track that is read, and where each of its samples is and when
//! it is shown.
//!
//! Of other tracks, sound of any kind, text, time codes, nothing is looked at but what they are.
//! Which samples the pieces of a fragmented file add is in [`super::fragments`].

use std::num::NonZeroU32;
use std::ops::Range;

use shiguredo_mp4::aux::SampleTableAccessor;
use shiguredo_mp4::boxes::{
    Co64Box, CttsBox, ElstBox, HdlrBox, MdhdBox, MvhdBox, SampleEntry, StblBox, StcoBox, StscBox, StsdBox, StszBox,
    SttsBox, TkhdBox, TrexBox, UnknownBox,
};
use shiguredo_mp4::{BoxSize, BoxType, Either};

use super::super::h264::Trouble;
use super::boxes::{BoxBytes, HEADER, word};
use super::description::Description;
use crate::frame_rate::FrameRate;

/// Samples of a track: what is beyond is damaged.
const MAX_SAMPLES: u64 = 10_000_000;
/// Of a track's matrix, if its frames are shown as they are: 1.0 as 16.16 and as 2.30.
const UPRIGHT: [i32; 9] = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30];

/// The video track that is read.
pub(super) struct Track {
    pub(super) id: u32,
    /// Units of its times in a second.
    units: NonZeroU32,
    /// When frames are shown that no edit list cuts away.
    pub(super) shown: Range<i64>,
    /// Never empty.
    pub(super) descriptions: Vec<Description>,
    /// In the order in which they are decoded.
    pub(super) samples: Vec<Sample>,
    /// When the next sample is decoded, and how long all of them are shown.
    pub(super) end: i64,
    duration: u64,
    /// What samples of fragments are like unless they say otherwise, of all tracks; `None` if there
    /// are no fragments.
    pub(super) defaults: Option<Vec<TrexBox>>,
}

/// A frame as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Its place in the file.
    pub(super) start: u64,
    pub(super) size: u32,
    /// Which of the track's descriptions it has.
    pub(super) description: u32,
    /// When it is shown, in the track's units.
    pub(super) time: i64,
}

impl Track {
    /// The first video track of the box `moov`, but for pictures of chapters: ffmpeg's choice.
    /// `length` is the file's.
    pub(super) fn read(movie: BoxBytes<'_>, length: u64) -> Result<Track, Trouble> {
        let parts = movie.children()?;
        if parts.iter().any(|part| &part.kind == b"cmov") {
            return Err(Trouble::Unsupported("its index is compressed".into()));
        }
        let tracks = parts.iter().filter(|part| &part.kind == b"trak");
        let chapters: Vec<u32> = tracks.clone().flat_map(|track| chapter_tracks(*track)).collect();
        let mut other = Err(Trouble::Damaged("it has no video track".into()));
        let mut video = None;
        for &track in tracks {
            match header_of_video(track) {
                Ok(Some(header)) if !chapters.contains(&header.track_id) => {
                    video = Some((track, header));
                    break;
                }
                Ok(_) => {}
                // It may have been the one.
                Err(trouble) => other = Err(trouble),
            }
        }
        let Some((track, header)) = video else { return other };
        let extends = parts.iter().find(|part| &part.kind == b"mvex");
        let defaults = extends.map(|extends| extends.children()).transpose()?.map(|parts| {
            let extends = parts.into_iter().filter(|part| &part.kind == b"trex");
            extends.filter_map(|part| part.decode().ok()).collect()
        });
        Track::of(movie, track, header, defaults, length)
    }

    fn of(
        movie: BoxBytes<'_>,
        track: BoxBytes<'_>,
        header: TkhdBox,
        defaults: Option<Vec<TrexBox>>,
        length: u64,
    ) -> Result<Track, Trouble> {
        let mut matrix = header.matrix;
        (matrix[6], matrix[7]) = (0, 0);
        if matrix != UPRIGHT {
            return Err(Trouble::Unsupported("its frames are to be rotated or mirrored".into()));
        }
        let media = track.child(b"mdia")?;
        let table = media.child(b"minf")?.child(b"stbl")?;
        let descriptions = Description::read_all(table.child(b"stsd")?)?;
        if descriptions.is_empty() {
            return Err(Trouble::Damaged("its frames are not described (`stsd`)".into()));
        }
        let units = media.child(b"mdhd")?.decode::<MdhdBox>()?.timescale;
        let id = header.track_id;
        let shown = shown(movie, track, units, defaults.is_some())?;
        let mut track = Track { id, units, shown, descriptions, samples: vec![], end: 0, duration: 0, defaults };
        track.read_table(table, length)?;
        Ok(track)
    }

    /// Takes the samples of a sample table.
    fn read_table(&mut self, table: BoxBytes<'_>, length: u64) -> Result<(), Trouble> {
        let times: SttsBox = table.child(b"stts")?.decode()?;
        let count = times.entries.iter().map(|entry| u64::from(entry.sample_count)).sum();
        if count == 0 {
            return Ok(());
        }
        check_count(count, length)?;
        let offsets = match table.find(b"stco")? {
            Some(offsets) => Either::A(offsets.decode::<StcoBox>()?),
            None => Either::B(table.child(b"co64")?.decode::<Co64Box>()?),
        };
        // Parsing descriptions is not left to the library: of them it gets the number.
        let entry = SampleEntry::Unknown(UnknownBox {
            box_type: BoxType::Normal(*b"free"),
            box_size: BoxSize::U32(HEADER as u32),
            payload: vec![],
        });
        let table = StblBox {
            stsd_box: StsdBox { entries: vec![entry; self.descriptions.len()] },
            stts_box: times,
            ctts_box: table.find(b"ctts")?.map(|offsets| offsets.decode::<CttsBox>()).transpose()?,
            cslg_box: None,
            stsc_box: table.child(b"stsc")?.decode::<StscBox>()?,
            stsz_box: table.child(b"stsz")?.decode::<StszBox>()?,
            stco_or_co64_box: offsets,
            stss_box: None,
            sdtp_box: None,
            unknown_boxes: vec![],
        };
        let table = std::panic::catch_unwind(|| SampleTableAccessor::new(table))
            .map_err(|_| Trouble::Damaged("its table of frames is damaged".into()))?
            .map_err(|cause| Trouble::Unsupported(format!("its table of frames is damaged: {cause}")))?;
        for sample in table.samples() {
            let decoded = i64::try_from(sample.timestamp()).unwrap_or(i64::MAX);
            self.end = decoded.saturating_add(sample.duration().into());
            self.push(
                Sample {
                    start: sample.data_offset(),
                    size: sample.data_size(),
                    description: sample.chunk().sample_entry_index() as u32,
                    time: shown_at(decoded, sample.composition_time_offset()),
                },
                sample.duration(),
            );
        }
        Ok(())
    }

    pub(super) fn push(&mut self, sample: Sample, duration: u32) {
        self.samples.push(sample);
        self.duration = self.duration.saturating_add(duration.into());
    }

    /// Frames a second, on average.
    pub(super) fn rate(&self) -> Option<FrameRate> {
        let seconds = self.duration as f64 / f64::from(self.units.get());
        FrameRate::new(self.samples.len() as f64 / seconds).ok()
    }
}

/// Checks that there may be so many samples in a file of `length` bytes: each has a byte at least.
pub(super) fn check_count(count: u64, length: u64) -> Result<(), Trouble> {
    match count <= length.min(MAX_SAMPLES) {
        true => Ok(()),
        false => Err(Trouble::Damaged(format!("its index is damaged: {count} frames in {length} bytes"))),
    }
}

/// When a sample is shown that is decoded at `decoded`. Offsets below 0 come where the format has
/// none, too.
pub(super) fn shown_at(decoded: i64, offset: Option<i64>) -> i64 {
    decoded.saturating_add(offset.map_or(0, |offset| i64::from(offset as i32)))
}

/// Tracks that hold a track's chapters.
fn chapter_tracks(track: BoxBytes<'_>) -> Vec<u32> {
    let references = track.find(b"tref").ok().flatten().and_then(|references| references.find(b"chap").ok().flatten());
    let ids = references.map_or(&[][..], |chapters| chapters.payload);
    ids.chunks_exact(4).filter_map(|id| word(id, 0)).collect()
}

/// The header of a track, if it is one of video.
fn header_of_video(track: BoxBytes<'_>) -> Result<Option<TkhdBox>, Trouble> {
    let handler: HdlrBox = track.child(b"mdia")?.child(b"hdlr")?.decode()?;
    if handler.handler_type != HdlrBox::HANDLER_TYPE_VIDE {
        return Ok(None);
    }
    track.child(b"tkhd")?.decode().map(Some)
}

/// The times of frames that an edit list leaves (ISO/IEC 14496-12, 8.6.6).
fn shown(movie: BoxBytes<'_>, track: BoxBytes<'_>, units: NonZeroU32, fragmented: bool) -> Result<Range<i64>, Trouble> {
    let Some(list) = track.find(b"edts")?.map(|edits| edits.find(b"elst")).transpose()?.flatten() else {
        return Ok(i64::MIN..i64::MAX);
    };
    // A negative time is a pause before the clip.
    let mut edits = list.decode::<ElstBox>()?.entries.into_iter().filter(|edit| edit.media_time >= 0);
    let Some(edit) = edits.next() else { return Ok(i64::MIN..i64::MAX) };
    if edits.next().is_some() {
        return Err(Trouble::Unsupported("it is cut together by an edit list of several parts".into()));
    }
    let movie_units = movie.child(b"mvhd")?.decode::<MvhdBox>()?.timescale;
    let duration = u128::from(edit.edit_duration) * u128::from(units.get());
    let duration = match i64::try_from(duration.div_ceil(movie_units.get().into())) {
        // Whoever wrote the index of a fragmented file did not know its duration.
        Ok(duration) if duration > 0 && !fragmented => duration,
        // None given, or beyond any clip.
        _ => i64::MAX,
    };
    Ok(edit.media_time..edit.media_time.saturating_add(duration))
}
