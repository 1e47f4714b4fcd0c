//! Tracks beside the one that is read, QuickTime's ways, and colours that the container tells.

use shiguredo_mp4::Decode;
use shiguredo_mp4::boxes::MoovBox;

use super::*;
use crate::colour::{BT601, BT709};

const DESCRIPTIONS: [&[u8; 4]; 5] = [b"trak", b"mdia", b"minf", b"stbl", b"stsd"];

/// A track of this handler, with these sample descriptions.
fn track(handler: &[u8; 4], descriptions: &[u8]) -> Vec<u8> {
    let handler = boxed(b"hdlr", &[&[0; 8], handler, &[0; 13]]);
    let table = boxed(b"stbl", &[&boxed(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], descriptions])]);
    boxed(b"trak", &[&boxed(b"mdia", &[&handler, &boxed(b"minf", &[&table])])])
}

/// An entry of QuickTime's description of AAC: version 1 has four numbers more than version 0,
/// version 2 nine.
fn sound(version: u16) -> Vec<u8> {
    let more = [0, 16, 36][usize::from(version)];
    let fields = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &version.to_be_bytes(), &[0; 18], &vec![0; more]].concat();
    boxed(b"mp4a", &[&fields, &boxed(b"wave", &[&boxed(b"frma", &[b"mp4a"]), &[0, 0, 0, 8, 0, 0, 0, 0]])])
}

#[test]
fn tracks_that_are_not_read_are_passed_over() {
    let others = [
        ("AAC of version 0", track(b"soun", &sound(0))),
        ("AAC of version 1", track(b"soun", &sound(1))),
        ("AAC of version 2", track(b"soun", &sound(2))),
        ("sound that is cut off", track(b"soun", &boxed(b"alac", &[&[0; 3]]))),
        ("a description longer than its list", track(b"soun", &[0xff; 40])),
        ("time codes", track(b"tmcd", &boxed(b"tmcd", &[&[0; 26]]))),
        ("text", track(b"text", &boxed(b"text", &[&[0; 51]]))),
        ("data", track(b"meta", &boxed(b"mebx", &[&[0; 8]]))),
        ("depth", track(b"auxv", &boxed(b"hvc1", &[&[0; 8]]))),
        ("an empty track", boxed(b"trak", &[])),
        ("a track without a handler", boxed(b"trak", &[&boxed(b"mdia", &[])])),
        ("a damaged track", boxed(b"trak", &[&[0, 0, 1, 0, b'm', b'd', b'i', b'a']])),
    ];
    for (what, other) in others {
        // In front, and so that the library that parses boxes refuses it.
        let bytes = with_index(|index| splice(index, 8 + 108, &other));
        assert!(
            MoovBox::decode(&bytes[bytes.len() - index_length(&bytes)..]).is_err() || what.contains("text"),
            "{what}"
        );
        assert_eq!(frames(&bytes), 10, "{what}");
    }
}

#[test]
fn pictures_of_chapters_are_not_the_clip() {
    // The first track is video, too, but the second calls it its chapters.
    let chapters = rewritten(&index(), &[b"trak"], &|track| {
        let thumbnails = rewritten(track, &[b"tkhd"], &|header| {
            let mut header = header.to_vec();
            header[20..24].copy_from_slice(&7u32.to_be_bytes());
            header
        });
        let jpeg = rewritten(&thumbnails, &DESCRIPTIONS[1..], &|_| boxed(b"stsd", &[&[0; 8]]));
        let reference = boxed(b"tref", &[&boxed(b"chap", &[&7u32.to_be_bytes()])]);
        [jpeg, splice(track.to_vec(), 8, &reference)].concat()
    });
    assert_eq!(frames(&with_index(|_| chapters.clone())), 10);
}

#[test]
fn quicktime_ends_lists_with_zeros() {
    for path in [&[&b"trak"[..]][..], &[], &[b"udta"]] {
        let path: Vec<&[u8; 4]> = path.iter().map(|kind| <&[u8; 4]>::try_from(*kind).unwrap()).collect();
        let bytes = with_index(|index| rewritten(&index, &path, &|list| boxed(&kind(list), &[&list[8..], &[0; 4]])));
        assert_eq!(frames(&bytes), 10, "{path:?}");
    }
    assert_eq!(
        frames(&with_description(&|mut entry| {
            entry.extend([0; 4]);
            entry
        })),
        10
    );
}

/// The clip with its description changed, header included.
fn with_description(edit: &dyn Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    with_index(|index| {
        rewritten(&index, &DESCRIPTIONS, &|list| {
            let entry = edit(list[16..].to_vec());
            boxed(b"stsd", &[&list[8..16], &boxed(&kind(&entry), &[&entry[8..]])])
        })
    })
}

/// The matrix and the range that a clip is taken to have, whose description has these boxes too.
fn colours(boxes: &[u8]) -> (Matrix, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mov");
    std::fs::write(&path, with_description(&|entry| [entry, boxes.to_vec()].concat())).unwrap();
    let space = open(&path).unwrap().space;
    (space.matrix, space.full_range)
}

#[test]
fn colours_may_be_told_by_the_container() {
    let nclc = |matrix: u8| boxed(b"colr", &[b"nclc", &[0, 1, 0, 1, 0, matrix]]);
    let nclx = |matrix: u8, range: u8| boxed(b"colr", &[b"nclx", &[0, 1, 0, 1, 0, matrix, range]]);
    let profile = boxed(b"colr", &[b"prof", &[0; 128]]);
    assert_eq!(colours(&[]), (BT601, false));
    assert_eq!(colours(&nclc(1)), (BT709, false));
    assert_eq!(colours(&nclc(6)), (BT601, false));
    assert_eq!(colours(&nclx(1, 0x80)), (BT709, true));
    assert_eq!(colours(&profile), (BT601, false));
    assert_eq!(colours(&[nclc(1), profile.clone()].concat()), (BT709, false));
    assert_eq!(colours(&[profile, nclx(1, 0)].concat()), (BT709, false));
    // Of several the last one.
    assert_eq!(colours(&[nclx(6, 0x80), nclc(1)].concat()).0, BT709);
}

#[test]
fn the_stream_has_the_last_word_on_colours() {
    let path = Path::new("clip.mov");
    let colours = |full_range| Some(Colours { matrix: 1, full_range });
    let signal = |matrix, full_range| {
        let mut signal = Signal::default();
        (signal.matrix, signal.full_range) = (matrix, full_range);
        signal
    };
    let space = |signal, colours| {
        colour_space(path, signal, colours).map(|space: ColourSpace| (space.matrix, space.full_range)).unwrap()
    };
    assert_eq!(space(signal(Some(6), None), colours(None)), (BT601, false));
    // But where it says that it does not know, as encoders do that are not told, the container may.
    assert_eq!(space(signal(Some(2), None), colours(None)), (BT709, false));
    assert_eq!(space(signal(Some(2), None), None), (BT601, false));
    assert_eq!(space(signal(Some(3), None), Some(Colours { matrix: 200, full_range: None })), (BT601, false));
    assert_eq!(space(signal(None, Some(false)), colours(Some(true))), (BT709, false));
    assert_eq!(space(signal(None, None), colours(Some(true))), (BT709, true));
    let message = colour_space(path, signal(Some(8), None), None).err().unwrap().to_string();
    assert!(message.contains("matrix 8"), "{message}");
}

#[test]
fn parameter_sets_may_come_with_the_samples() {
    // `avc3`: those of the description moved in front of the first sample, which is written behind
    // all others.
    let original = std::fs::read(B_FRAMES).unwrap();
    let sets = {
        let clip = open(B_FRAMES.as_ref()).unwrap();
        let config = clip.track.descriptions[0].h264().unwrap();
        let sets = config.sps_list.iter().chain(&config.pps_list);
        sets.flat_map(|set| [&(set.len() as u32).to_be_bytes()[..], set].concat()).collect::<Vec<u8>>()
    };
    let (start, size) = {
        let clip = open(B_FRAMES.as_ref()).unwrap();
        let first = clip.track.samples[0];
        (first.start as usize, first.size as usize)
    };
    let mut bytes = with_description(&|mut entry| {
        entry[4..8].copy_from_slice(b"avc3");
        let config = entry.windows(4).position(|kind| kind == b"avcC").unwrap() + 4;
        let length = u32::from_be_bytes(entry[config - 8..config - 4].try_into().unwrap()) as usize;
        // No sets of either kind.
        let empty = [&entry[config..config + 5], &[0xe0, 0]].concat();
        [&entry[..config - 8], &boxed(b"avcC", &[&empty]), &entry[config - 8 + length..]].concat()
    });
    // The first sample becomes longer: it moves to the end, in a chunk of its own.
    let moved = bytes.len() as u32 + 8;
    let sample = [&sets[..], &original[start..start + size]].concat();
    bytes = rewritten_index(&bytes, &|index| {
        let index = rewritten(&index, &[b"trak", b"mdia", b"minf", b"stbl", b"stsz"], &|sizes| {
            let mut sizes = sizes.to_vec();
            sizes[20..24].copy_from_slice(&(sample.len() as u32).to_be_bytes());
            sizes
        });
        let index = rewritten(&index, &[b"trak", b"mdia", b"minf", b"stbl", b"stsc"], &|_| {
            let numbers = [0, 2, 1, 1, 1, 2, 9, 1].map(u32::to_be_bytes).concat();
            boxed(b"stsc", &[&numbers])
        });
        rewritten(&index, &[b"trak", b"mdia", b"minf", b"stbl", b"stco"], &|_| {
            let numbers = [0, 2, moved + 12 + 4, (start + size) as u32].map(u32::to_be_bytes).concat();
            boxed(b"stco", &[&numbers])
        })
    });
    assert_eq!(bytes.len() as u32 + 8, moved + 12 + 4);
    bytes.extend(boxed(b"mdat", &[&sample]));
    let all = all_planes(&original);
    assert!(all_planes(&bytes) == all);
}

#[test]
fn encrypted_clips_are_called_that() {
    let bytes = with_description(&|mut entry| {
        entry[4..8].copy_from_slice(b"encv");
        entry
    });
    let message = refusal(&bytes);
    assert!(message.contains("its video is encrypted"), "{message}");
}
