//! MP4 with one H.264 track (`avc1`), its index in front of the frames, so that a browser can start
//! before it has all.

use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZeroU32;
use std::path::Path;

use shiguredo_mp4::bitstream::h264::{H264SampleEntryConfig, LengthSize, build_avc1_box};
use shiguredo_mp4::boxes::{SampleEntry, UnknownBox};
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, Sample, estimate_maximum_moov_box_size};
use shiguredo_mp4::{BoxSize, BoxType, TrackKind};

use super::h264::{BT709_CODE, FrameEncoder};
use super::sink::{Fault, FrameSink, Opened};
use crate::clip::ClipShape;
use crate::error::{Error, Result};
use crate::frame_rate::FrameRate;

/// Size and type in front of a box's payload.
const BOX_HEADER: usize = 8;
/// Space kept in front for the index, at most: a million frames. A longer clip has its index behind
/// the frames.
const MAX_INDEX: usize = 1 << 24;

struct Mp4<W> {
    encoder: FrameEncoder,
    muxer: Mp4FileMuxer,
    to: W,
    /// Bytes written so far.
    end: u64,
    rate: FrameRate,
    timescale: NonZeroU32,
}

/// Begins a clip, called `name` in messages, in what `to` opens. Per frame it keeps a few bytes for
/// the index, nothing else.
pub(super) fn open<'a, W: Write + Seek + Send + 'a>(
    name: &Path,
    shape: ClipShape,
    rate: FrameRate,
    to: impl FnOnce() -> Result<W>,
) -> Opened<'a, W> {
    let unsupported = |problem| Error::UnsupportedClip { path: name.into(), problem };
    let encoder = FrameEncoder::new(shape).map_err(unsupported)?;
    let options = Mp4FileMuxerOptions {
        reserved_moov_box_size: estimate_maximum_moov_box_size(&[shape.frames]).min(MAX_INDEX),
        ..Mp4FileMuxerOptions::default()
    };
    let muxer = Mp4FileMuxer::with_options(options).map_err(|cause| unsupported(cause.to_string()))?;
    let timescale = NonZeroU32::new(rate.frames()).unwrap_or(NonZeroU32::MIN);
    let mut to = to()?;
    let head = muxer.initial_boxes_bytes();
    to.write_all(head)?;
    let end = head.len() as u64;
    Ok(Box::new(Mp4 { encoder, muxer, to, end, rate, timescale }))
}

fn failed(problem: impl ToString) -> Fault {
    Fault::Encoder { format: "MP4", problem: problem.to_string() }
}

/// What a player must know of the stream: its parameter sets and its colours.
fn sample_entry(sequence: Vec<u8>, picture: Vec<u8>) -> Result<SampleEntry, Fault> {
    let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
    let mut entry = build_avc1_box(&[sequence], &[picture], &config).map_err(failed)?;
    // ColourInformationBox of ISO/IEC 14496-12, 12.1.5: primaries, transfer, matrix, and full range
    // or not.
    let code = [0, BT709_CODE];
    let payload = [b"nclx".as_slice(), &code, &code, &code, &[0]].concat();
    entry.unknown_boxes.push(UnknownBox {
        box_type: BoxType::Normal(*b"colr"),
        box_size: BoxSize::U32((BOX_HEADER + payload.len()) as u32),
        payload,
    });
    Ok(SampleEntry::Avc1(entry))
}

impl<W: Write + Seek + Send> FrameSink<W> for Mp4<W> {
    fn frame(&mut self, rgb: &[u8]) -> Result<(), Fault> {
        let unit = self.encoder.encode(rgb).map_err(failed)?;
        // The first frame's parameter sets describe all of them: nothing about the stream changes
        // on the way.
        let first = self.end == self.muxer.initial_boxes_bytes().len() as u64;
        let sample_entry = match unit.parameter_sets {
            Some((sequence, picture)) if first => Some(sample_entry(sequence, picture)?),
            _ => None,
        };
        self.to.write_all(&unit.slices)?;
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
        self.muxer.append_sample(&sample).map_err(failed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn finish(mut self: Box<Self>) -> Result<W, Fault> {
        let index = self.muxer.finalize().map_err(failed)?;
        for (offset, bytes) in index.offset_and_bytes_pairs() {
            self.to.seek(SeekFrom::Start(offset))?;
            self.to.write_all(bytes)?;
        }
        Ok(self.to)
    }
}
