//! MP4 with one H.264 track (`avc1`), its index in front of the frames, so that a browser can start before it has all.

use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroU32;
use std::path::Path;

use shiguredo_mp4::bitstream::h264::{H264SampleEntryConfig, LengthSize, build_avc1_box};
use shiguredo_mp4::boxes::{SampleEntry, UnknownBox};
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, Sample, estimate_maximum_moov_box_size};
use shiguredo_mp4::{BoxSize, BoxType, TrackKind};

use super::h264::{BT709_CODE, FrameEncoder};
use super::pictures::FrameSink;
use super::{ClipShape, FrameRate};
use crate::error::{Error, Result};
use files::staging::StagedFile;

/// Size and type in front of a box's payload.
const BOX_HEADER: usize = 8;
/// Space kept in front for the index, at most: a million frames. A longer clip has its index behind the frames.
const MAX_INDEX: usize = 1 << 24;

struct Mp4 {
    encoder: FrameEncoder,
    muxer: Mp4FileMuxer,
    file: StagedFile,
    /// Bytes written so far.
    end: u64,
    rate: FrameRate,
    timescale: NonZeroU32,
}

/// Opens a file for one sample's frames. Per frame it keeps a few bytes for the index, nothing else.
pub(super) fn open(path: &Path, shape: ClipShape, rate: FrameRate) -> Result<Box<dyn FrameSink>> {
    let unsupported = |problem| Error::UnsupportedClip { path: path.into(), problem };
    let encoder = FrameEncoder::new(shape).map_err(unsupported)?;
    let options = Mp4FileMuxerOptions {
        reserved_moov_box_size: estimate_maximum_moov_box_size(&[shape.frames]).min(MAX_INDEX),
        ..Mp4FileMuxerOptions::default()
    };
    let muxer = Mp4FileMuxer::with_options(options).map_err(|cause| unsupported(cause.to_string()))?;
    let timescale = NonZeroU32::new(rate.frames()).unwrap_or(NonZeroU32::MIN);
    let mut file = StagedFile::create(path)?;
    let head = muxer.initial_boxes_bytes();
    file.write_all(head).map_err(|cause| file.error(cause))?;
    let end = head.len() as u64;
    Ok(Box::new(Mp4 { encoder, muxer, file, end, rate, timescale }))
}

impl Mp4 {
    fn failed(&self, problem: impl ToString) -> files::Error {
        files::Error::Encode { path: self.file.target().into(), format: "MP4", problem: problem.to_string() }
    }

    fn sample_entry(&self, sequence: Vec<u8>, picture: Vec<u8>) -> Result<SampleEntry> {
        let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
        let mut entry = build_avc1_box(&[sequence], &[picture], &config).map_err(|cause| self.failed(cause))?;
        // ColourInformationBox of ISO/IEC 14496-12, 12.1.5: primaries, transfer, matrix, and full range or not.
        let code = [0, BT709_CODE];
        let payload = [b"nclx".as_slice(), &code, &code, &code, &[0]].concat();
        entry.unknown_boxes.push(UnknownBox {
            box_type: BoxType::Normal(*b"colr"),
            box_size: BoxSize::U32((BOX_HEADER + payload.len()) as u32),
            payload,
        });
        Ok(SampleEntry::Avc1(entry))
    }
}

impl FrameSink for Mp4 {
    fn frame(&mut self, rgb: &[u8]) -> Result<()> {
        let unit = self.encoder.encode(rgb).map_err(|problem| self.failed(problem))?;
        // The first frame's parameter sets describe all of them: nothing about the stream changes on the way.
        let first = self.end == self.muxer.initial_boxes_bytes().len() as u64;
        let sample_entry = match unit.parameter_sets {
            Some((sequence, picture)) if first => Some(self.sample_entry(sequence, picture)?),
            _ => None,
        };
        self.file.write_all(&unit.slices).map_err(|cause| self.file.error(cause))?;
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry,
            keyframe: unit.key,
            timescale: self.timescale,
            duration: self.rate.seconds(),
            composition_time_offset: None,
            data_offset: self.end,
            data_size: unit.slices.len(),
        };
        self.end += unit.slices.len() as u64;
        Ok(self.muxer.append_sample(&sample).map_err(|cause| self.failed(cause))?)
    }

    fn finish(mut self: Box<Self>) -> Result<StagedFile> {
        let index = self.muxer.finalize().map_err(|cause| {
            let problem = cause.to_string();
            files::Error::Encode { path: self.file.target().into(), format: "MP4", problem }
        })?;
        for (offset, bytes) in index.offset_and_bytes_pairs() {
            let file = &mut self.file;
            let written = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes));
            written.map_err(|cause| file.error(cause))?;
        }
        Ok(self.file)
    }
}
