//! Decoded planes against those of ffmpeg: of a committed clip by their checksums, and of others
//! where there is an ffmpeg.

mod fragmented;
mod tracks;

use std::process::Command;

use needs::Need;

use super::*;
use crate::colour::Matrix;
use crate::{ClipShape, FrameBlock, FrameRate, create};

/// 70x50, High profile, CABAC, groups of I, B and P frames of which B frames are stored behind
/// those they come before.
const B_FRAMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/b-frames.mp4");

fn open(path: &Path) -> Result<Mp4> {
    Mp4::open(&ClipFile::open(path)?, Fallback::Ffmpeg)
}

/// The next frame's planes, Y', Cb, Cr.
fn planes(clip: &mut Mp4) -> Option<Vec<u8>> {
    clip.decode_due().unwrap().then(|| clip.waiting.remove(0).1).map(|frame| [frame.y, frame.u, frame.v].concat())
}

/// Does something with the clip of these bytes.
fn opened<T>(bytes: &[u8], then: impl FnOnce(&mut Mp4) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    std::fs::write(&path, bytes).unwrap();
    then(&mut Mp4::open(&ClipFile::open(&path).unwrap(), Fallback::None).unwrap())
}

/// The planes of all frames.
fn all_planes(bytes: &[u8]) -> Vec<Vec<u8>> {
    opened(bytes, |clip| {
        let frames: Vec<_> = std::iter::from_fn(|| planes(clip)).collect();
        assert_eq!(Some(frames.len()), clip.shape().frames);
        frames
    })
}

fn frames(bytes: &[u8]) -> usize {
    all_planes(bytes).len()
}

/// Decodes all frames, or says why not.
fn attempt(bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    std::fs::write(&path, bytes).unwrap();
    let file = ClipFile::open(&path).map_err(|error| error.to_string())?;
    let mut clip = Mp4::open(&file, Fallback::None).map_err(|error| error.to_string())?;
    while clip.decode_due().map_err(|error| error.to_string())? {
        clip.waiting.remove(0);
    }
    Ok(())
}

/// Why the clip of these bytes is refused.
fn refusal(bytes: &[u8]) -> String {
    attempt(bytes).unwrap_err()
}

/// Runs what makes the decoder panic, which is caught, without a word of it.
fn quietly(run: impl FnOnce()) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    run();
    std::panic::set_hook(hook);
}

// ---- files made of the committed clip

/// A box of this kind, whose payload is made of these parts.
fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    [&(payload.len() as u32 + 8).to_be_bytes()[..], kind, &payload].concat()
}

fn kind(bytes: &[u8]) -> [u8; 4] {
    bytes[4..8].try_into().unwrap()
}

/// The box `bytes` with another one in its place, or in that of the box below it that `path` leads
/// to.
fn rewritten(bytes: &[u8], path: &[&[u8; 4]], edit: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let Some((next, path)) = path.split_first() else { return edit(bytes) };
    let children = boxes::list(&bytes[8..]).unwrap();
    let parts: Vec<Vec<u8>> = children
        .into_iter()
        .map(|child| if &child.kind == *next { rewritten(child.whole, path, edit) } else { child.whole.to_vec() })
        .collect();
    boxed(&kind(bytes), &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The box with more bytes behind its first ones.
fn splice(bytes: Vec<u8>, at: usize, more: &[u8]) -> Vec<u8> {
    boxed(&kind(&bytes), &[&bytes[8..at], more, &bytes[at..]])
}

/// How long the index is at the end of a file.
fn index_length(bytes: &[u8]) -> usize {
    bytes.len() - (bytes.windows(4).rposition(|kind| kind == b"moov").unwrap() - 4)
}

/// The committed clip's index.
fn index() -> Vec<u8> {
    let bytes = std::fs::read(B_FRAMES).unwrap();
    bytes[bytes.len() - index_length(&bytes)..].to_vec()
}

/// The file with its index, at its end, changed.
fn rewritten_index(bytes: &[u8], edit: &dyn Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let (before, index) = bytes.split_at(bytes.len() - index_length(bytes));
    [before.to_vec(), edit(index.to_vec())].concat()
}

/// The committed clip with its index changed.
fn with_index(edit: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    rewritten_index(&std::fs::read(B_FRAMES).unwrap(), &edit)
}

/// Adler-32 (RFC 1950, 8.2).
fn checksum(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

#[test]
fn b_frames_come_in_the_order_they_are_shown() {
    let mut clip = open(B_FRAMES.as_ref()).unwrap();
    let PictureShape { width, height, frames, rate } = clip.shape();
    assert_eq!((width, height, frames), (70, 50, Some(10)));
    assert_eq!(rate.map(|rate| (rate.frames(), rate.seconds())), Some((24000, 1001)));
    // Of what `ffmpeg -i b-frames.mp4 -f rawvideo -pix_fmt yuv420p` writes, frame by frame.
    let expected = [
        0xd2726d00, 0xbd0c6b3e, 0xc1c163d0, 0xe2fb6038, 0x27435ca8, 0x11896fb0, 0xf92b6e45, 0x625d6b74, 0x758e68f9,
        0x90fa69a0,
    ];
    for expected in expected {
        assert_eq!(checksum(&planes(&mut clip).unwrap()), expected);
        assert!(clip.waiting.len() <= 3, "no more is held than the order needs");
    }
    assert_eq!(planes(&mut clip), None);
}

#[test]
fn edit_lists_cut_frames_away() {
    // The one edit of the file: its duration in thousandths and its start in 1/24000 s, each behind
    // another word.
    let bytes = std::fs::read(B_FRAMES).unwrap();
    let list = bytes.windows(4).position(|window| window == b"elst").unwrap() + 12;
    let start = u32::from_be_bytes(bytes[list + 4..list + 8].try_into().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.mp4");
    let mut edited = bytes.clone();
    // Three frames less in front, and then four.
    edited[list..list + 4].copy_from_slice(&(4u32 * 1001 / 24).to_be_bytes());
    edited[list + 4..list + 8].copy_from_slice(&(start + 3 * 1001).to_be_bytes());
    std::fs::write(&path, edited).unwrap();
    let mut all = open(B_FRAMES.as_ref()).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| planes(&mut all)).collect();
    let mut cut = open(&path).unwrap();
    assert_eq!(cut.shape().frames, Some(4));
    let cut: Vec<_> = std::iter::from_fn(|| planes(&mut cut)).collect();
    assert!(cut == all[3..7]);
}

#[test]
fn every_damaged_byte_is_an_error_or_frames() {
    let bytes = std::fs::read(B_FRAMES).unwrap();
    quietly(|| {
        for at in (0..bytes.len()).step_by(9) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let _ = attempt(&damaged);
        }
    });
    assert!((0..bytes.len()).step_by(31).all(|end| attempt(&bytes[..end]).is_err()));
}

#[test]
fn other_codecs_are_named() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hevc.mp4");
    let Err(Error::UnsupportedInput { problem, .. }) = open(path.as_ref()) else { panic!() };
    assert_eq!(problem, "its video is H.265 (HEVC), and H.264 is decoded here");
}

#[test]
fn rotated_tracks_are_left_to_ffmpeg() {
    let mut bytes = std::fs::read(B_FRAMES).unwrap();
    let header = bytes.windows(4).position(|window| window == b"tkhd").unwrap();
    let matrix = header + 44;
    bytes[matrix..matrix + 20].copy_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rotated.mp4");
    std::fs::write(&path, bytes).unwrap();
    let Err(Error::UnsupportedInput { problem, .. }) = open(&path) else { panic!() };
    assert!(problem.contains("rotated"), "{problem}");
}

/// Runs ffmpeg; `None` if there is none, or none with x264.
fn ffmpeg(arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("ffmpeg").args(["-nostdin", "-loglevel", "error", "-y"]).args(arguments).output().ok()?;
    output.status.success().then_some(output.stdout)
}

#[test]
fn planes_are_those_of_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let name = path.to_str().unwrap();
    let variants = [
        "-profile:v baseline",
        "-profile:v main -bf 2",
        "-preset veryslow -bf 8 -x264-params b-pyramid=strict:open-gop=1:keyint=9",
        "-preset slow -qp 2",
        "-x264-params cabac=0:8x8dct=1:slices=4:cqm=jvt",
        "-x264-params intra-refresh=1:weightp=2:ref=16:aud=1",
        "-x264-params fake-interlaced=1",
        "-bf 2 -movflags frag_keyframe -g 6",
        "-bf 2 -movflags frag_keyframe+empty_moov -g 6",
        "-bf 2 -movflags frag_keyframe+empty_moov+default_base_moof+global_sidx -g 6",
        "-bf 3 -movflags empty_moov+delay_moov -frag_duration 300000",
    ];
    for variant in variants {
        let source = "testsrc2=size=94x60:rate=5,noise=alls=20:allf=t";
        let mut make = vec!["-f", "lavfi", "-i", source, "-frames:v", "20", "-pix_fmt", "yuv420p", "-c:v", "libx264"];
        make.extend(variant.split(' '));
        make.push(name);
        if ffmpeg(&make).is_none() {
            assert_eq!(variant, variants[0], "ffmpeg makes some clips and not this one");
            needs::skip("planes_are_those_of_ffmpeg", Need::Ffmpeg, "put one with x264 on the PATH");
            return;
        }
        compare(&path, variant);
    }
    let path = folder.path().join("ours.mp4");
    let shape = ClipShape { batch: 1, channels: 3, frames: 5, height: 62, width: 94 };
    let data: Vec<f32> = (0..3 * 5 * 62 * 94).map(|i| (i as f32 * 0.013).sin()).collect();
    let mut writer = create(&path, shape, FrameRate::new(8.0).unwrap()).unwrap();
    writer.write(0, &FrameBlock { data: &data, frames: 5 }).unwrap();
    writer.finish().unwrap();
    compare(&path, "our own writer");
}

/// Panics unless a clip is decoded to the planes that ffmpeg decodes it to.
fn compare(path: &Path, what: &str) {
    let name = path.to_str().unwrap();
    // Each frame once, in the words of new versions and of old ones, which drop frames at equal
    // times all the same.
    let decode = |once| {
        let times = ["-vf", "settb=1/25,setpts=N", "-enc_time_base", "1/25", once, "passthrough"];
        ffmpeg(&[&["-i", name], &times[..], &["-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]].concat())
    };
    let expected = decode("-fps_mode").or_else(|| decode("-vsync")).unwrap();
    let mut clip = open(path).unwrap();
    let found: Vec<u8> = std::iter::from_fn(|| planes(&mut clip)).flatten().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(found == expected, "{what}");
}
