//! Fragmented files, made here of the committed clip in every way that says where samples are and
//! when.

use shiguredo_mp4::boxes::{
    MfhdBox, MoofBox, MoovBox, MvexBox, StszBox, SttsBox, TfdtBox, TfhdBox, TrafBox, TrexBox, TrunBox, TrunSample,
};
use shiguredo_mp4::{Decode, Encode, SampleFlags};

use super::*;

/// A sample's duration, in the track's units.
const DURATION: u32 = 1001;
/// The track that is read, and one of sound.
const VIDEO: u32 = 1;
const SOUND: u32 = 2;

/// A sample to be written: its bytes, and when it is shown behind when it is decoded.
#[derive(Clone)]
struct Stored {
    bytes: Vec<u8>,
    offset: i64,
}

fn stored() -> Vec<Stored> {
    let bytes = std::fs::read(B_FRAMES).unwrap();
    let clip = open(B_FRAMES.as_ref()).unwrap();
    let sample = |(i, sample): (usize, &index::Sample)| Stored {
        bytes: bytes[sample.start as usize..][..sample.size as usize].to_vec(),
        offset: sample.time - i as i64 * i64::from(DURATION),
    };
    clip.track.samples.iter().enumerate().map(sample).collect()
}

/// How a fragmented file is written.
#[derive(Clone, Copy)]
struct Style {
    /// The file's own samples, in front of all fragments.
    in_index: usize,
    base: Base,
    /// Whether fragments say when they begin.
    timed: bool,
    /// Durations and sizes said once, where one sample is a fragment.
    defaults: Defaults,
    /// Samples of a run.
    run: usize,
    /// Whether a part of sound comes in front, in each fragment.
    sound: bool,
}

/// What a part's places count from.
#[derive(Clone, Copy, PartialEq)]
enum Base {
    Fragment,
    File,
    /// Where the part before it ends.
    Previous,
}

/// Where what samples have in common is said.
#[derive(Clone, Copy, PartialEq)]
enum Defaults {
    Nowhere,
    Part,
    Index,
}

const PLAIN: Style =
    Style { in_index: 0, base: Base::Fragment, timed: true, defaults: Defaults::Nowhere, run: 99, sound: false };

/// The index of a fragmented file that holds the first samples itself, at `start`.
fn fragmented_index(style: Style, samples: &[Stored], start: u32) -> Vec<u8> {
    let mut movie = MoovBox::decode(&index()).unwrap().0;
    let track = &mut movie.trak_boxes[0];
    // Its edit lasts as long as what the index has: no longer than that was known.
    track.edts_box.as_mut().unwrap().elst_box.as_mut().unwrap().entries[0].edit_duration = style.in_index as u64 * 42;
    let table = &mut track.mdia_box.minf_box.stbl_box;
    table.stts_box = SttsBox { entries: vec![] };
    table.ctts_box = None;
    table.stsz_box = StszBox::Variable { entry_sizes: vec![] };
    table.stsc_box.entries.clear();
    let mut chunks = vec![];
    if style.in_index > 0 {
        let first = MoovBox::decode(&index()).unwrap().0.trak_boxes.remove(0).mdia_box.minf_box.stbl_box;
        table.stts_box = first.stts_box;
        table.stts_box.entries[0].sample_count = style.in_index as u32;
        let mut offsets = first.ctts_box.unwrap();
        offsets.entries = samples[..style.in_index]
            .iter()
            .map(|sample| shiguredo_mp4::boxes::CttsEntry { sample_count: 1, sample_offset: sample.offset })
            .collect();
        table.ctts_box = Some(offsets);
        let sizes = samples[..style.in_index].iter().map(|sample| sample.bytes.len() as u32);
        table.stsz_box = StszBox::Variable { entry_sizes: sizes.collect() };
        table.stsc_box = first.stsc_box;
        table.stsc_box.entries[0].sample_per_chunk = style.in_index as u32;
        chunks.push(start);
    }
    table.stco_or_co64_box = shiguredo_mp4::Either::A(shiguredo_mp4::boxes::StcoBox { chunk_offsets: chunks });
    let defaults = |track_id, duration| TrexBox {
        track_id,
        default_sample_description_index: 1,
        default_sample_duration: duration,
        default_sample_size: 0,
        default_sample_flags: SampleFlags::empty(),
    };
    let duration = if style.defaults == Defaults::Index { DURATION } else { 1 };
    movie.mvex_box = Some(MvexBox {
        mehd_box: None,
        trex_boxes: vec![defaults(SOUND, 7), defaults(VIDEO, duration)],
        unknown_boxes: vec![],
    });
    movie.encode_to_vec().unwrap()
}

/// A fragment at `at`, with its samples.
fn fragment(style: Style, samples: &[Stored], first: usize, at: usize) -> Vec<u8> {
    const NOISE: [u8; 11] = [0xee; 11];
    let noise = if style.sound { NOISE.to_vec() } else { vec![] };
    let make = |header: usize| {
        let data = header + 8;
        let absolute = (style.base == Base::File).then_some(at as u64);
        let track = |track_id| TfhdBox {
            track_id,
            base_data_offset: absolute,
            sample_description_index: None,
            default_sample_duration: (style.defaults == Defaults::Part).then_some(DURATION),
            default_sample_size: (style.defaults != Defaults::Nowhere).then_some(samples[0].bytes.len() as u32),
            default_sample_flags: None,
            duration_is_empty: false,
            default_base_is_moof: style.base == Base::Fragment,
        };
        let sound = TrafBox {
            tfhd_box: TfhdBox { default_sample_size: None, ..track(SOUND) },
            tfdt_box: None,
            trun_boxes: vec![TrunBox {
                data_offset: Some(data as i32),
                first_sample_flags: None,
                samples: vec![TrunSample {
                    duration: None,
                    size: Some(NOISE.len() as u32),
                    flags: None,
                    composition_time_offset: None,
                }],
            }],
            unknown_boxes: vec![],
        };
        let mut at_run = data + noise.len();
        let runs = samples.chunks(style.run).enumerate().map(|(i, run)| {
            let said = style.defaults == Defaults::Nowhere;
            // A first run behind another part, and a later one behind the first, need not say where
            // they are.
            let implied = i % 2 == 1 || i == 0 && style.base == Base::Previous && style.sound;
            let data_offset = (!implied).then_some(at_run as i32);
            at_run += run.iter().map(|sample| sample.bytes.len()).sum::<usize>();
            let samples = run.iter().map(|sample| TrunSample {
                duration: said.then_some(DURATION),
                size: said.then_some(sample.bytes.len() as u32),
                flags: None,
                composition_time_offset: Some(sample.offset),
            });
            TrunBox { data_offset, first_sample_flags: None, samples: samples.collect() }
        });
        let time = TfdtBox { version: 1, base_media_decode_time: u64::from(DURATION) * first as u64 };
        let video = TrafBox {
            tfhd_box: track(VIDEO),
            tfdt_box: style.timed.then_some(time),
            trun_boxes: runs.collect(),
            unknown_boxes: vec![],
        };
        let parts = if style.sound { vec![sound, video] } else { vec![video] };
        let mfhd_box = MfhdBox { sequence_number: first as u32 + 1 };
        MoofBox { mfhd_box, traf_boxes: parts, unknown_boxes: vec![] }.encode_to_vec().unwrap()
    };
    let header = make(make(0).len());
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.bytes.clone()).collect();
    [header, boxed(b"mdat", &[&noise, &data])].concat()
}

/// The clip in fragments of so many samples.
fn fragmented(style: Style, size: usize) -> Vec<u8> {
    let samples = stored();
    let mut bytes = boxed(b"ftyp", &[b"iso5\0\0\0\0"]);
    let start = bytes.len() + fragmented_index(style, &samples, 0).len() + 8;
    bytes.extend(fragmented_index(style, &samples, start as u32));
    let (in_index, rest) = samples.split_at(style.in_index);
    bytes.extend(boxed(b"mdat", &[&in_index.iter().flat_map(|sample| sample.bytes.clone()).collect::<Vec<_>>()]));
    for (i, samples) in rest.chunks(size).enumerate() {
        bytes.extend(boxed(b"sidx", &[&[0; 24]]));
        let at = bytes.len();
        bytes.extend(fragment(style, samples, style.in_index + i * size, at));
    }
    [bytes, boxed(b"mfra", &[])].concat()
}

#[test]
fn fragments_are_read_however_they_say_where_samples_are() {
    let expected = all_planes(&std::fs::read(B_FRAMES).unwrap());
    assert_eq!(expected.len(), 10);
    let styles = [
        ("as ffmpeg writes them", PLAIN, 4),
        ("one fragment", PLAIN, 10),
        ("every frame a fragment", PLAIN, 1),
        ("places in the file", Style { base: Base::File, ..PLAIN }, 3),
        ("no times", Style { timed: false, ..PLAIN }, 3),
        ("runs of two, every other without a place", Style { run: 2, ..PLAIN }, 5),
        ("behind sound", Style { sound: true, ..PLAIN }, 4),
        ("behind sound, where that ends", Style { sound: true, base: Base::Previous, ..PLAIN }, 4),
        ("behind sound, places in the file", Style { sound: true, base: Base::File, run: 1, ..PLAIN }, 4),
        ("without any base", Style { base: Base::Previous, ..PLAIN }, 4),
        ("defaults of the part", Style { defaults: Defaults::Part, ..PLAIN }, 1),
        ("defaults of the index", Style { defaults: Defaults::Index, timed: false, ..PLAIN }, 1),
        ("the first three frames in the index", Style { in_index: 3, ..PLAIN }, 4),
        ("the first frames in the index, no times", Style { in_index: 5, timed: false, ..PLAIN }, 2),
    ];
    for (what, style, size) in styles {
        let bytes = fragmented(style, size);
        assert!(all_planes(&bytes) == expected, "{what}");
        let rate = opened(&bytes, |clip| clip.shape().rate).map(|rate| (rate.frames(), rate.seconds()));
        assert_eq!(rate, Some((24000, 1001)), "{what}");
    }
}

#[test]
fn frames_of_fragments_last_as_long_as_they_say() {
    // The second fragment says to begin two frames later than the first one ends.
    let mut bytes = fragmented(PLAIN, 5);
    let second = bytes.windows(4).rposition(|kind| kind == b"tfdt").unwrap();
    bytes[second + 8..second + 16].copy_from_slice(&(7 * u64::from(DURATION)).to_be_bytes());
    let times = opened(&bytes, |clip| clip.track.samples.iter().map(|sample| sample.time).collect::<Vec<_>>());
    let before =
        opened(&fragmented(PLAIN, 5), |clip| clip.track.samples.iter().map(|sample| sample.time).collect::<Vec<_>>());
    assert_eq!(times[..5], before[..5]);
    assert!((5..10).all(|i| times[i] == before[i] + 2 * i64::from(DURATION)));
    assert_eq!(all_planes(&bytes).len(), 10);
}

#[test]
fn fragments_that_are_cut_off_are_an_error_and_whole_ones_frames() {
    let bytes = fragmented(PLAIN, 4);
    let starts: Vec<usize> =
        (0..bytes.len() - 3).filter(|&at| &bytes[at..at + 4] == b"sidx").map(|at| at - 4).collect();
    // Where boxes end, with how many fragments in front: behind a `sidx` of 32 bytes, too, and in
    // front of the last box.
    let before = starts.iter().enumerate();
    let mut ends: Vec<_> = before.flat_map(|(fragments, &at)| [(at, fragments), (at + 32, fragments)]).collect();
    ends.push((bytes.len() - 8, starts.len()));
    for end in starts[0] + 1..bytes.len() {
        match ends.iter().find(|&&(whole, _)| (whole..whole + 4).contains(&end)) {
            // The next box's size begins with zeros, which may be padding.
            Some(&(whole, _)) if whole < end => {}
            Some((_, 0)) => assert!(refusal(&bytes[..end]).contains("without the pieces behind it")),
            Some(&(_, fragments)) => assert_eq!(frames(&bytes[..end]), 10.min(4 * fragments)),
            None => {
                let message = refusal(&bytes[..end]);
                assert!(message.contains("it is cut off"), "{end}: {message}");
            }
        }
    }
    let message = attempt(&bytes[..starts[0]]).unwrap_err();
    assert!(message.contains("it is the beginning of a fragmented MP4, without the pieces behind it"), "{message}");
    let piece = [boxed(b"styp", &[]), bytes[starts[1]..].to_vec()].concat();
    let message = refusal(&piece);
    assert!(message.contains("without its beginning (`moov`)") && message.contains("cat init.mp4"), "{message}");
    // In front of it, the beginning is what was missing.
    assert_eq!(frames(&[&bytes[..starts[1]], &piece].concat()), 10);
    // Zeros behind the end are nothing.
    assert_eq!(frames(&[&bytes[..], &[0; 4096]].concat()), 10);
}

#[test]
fn fragments_cannot_ask_for_memory() {
    let mut bytes = fragmented(Style { defaults: Defaults::Part, ..PLAIN }, 1);
    let run = bytes.windows(4).position(|kind| kind == b"trun").unwrap();
    // A run that says nothing of its samples, of which there are to be 16 millions.
    bytes[run + 4..run + 12].copy_from_slice(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]);
    let message = refusal(&bytes);
    assert!(message.contains("16777215 frames in"), "{message}");
}

#[test]
fn every_damaged_byte_of_a_fragment_is_an_error_or_frames() {
    let bytes = fragmented(Style { sound: true, base: Base::Previous, ..PLAIN }, 4);
    quietly(|| {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let _ = attempt(&damaged);
        }
    });
}
