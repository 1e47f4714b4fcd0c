//! Clips and animations: round trips, GIF, H.264 as people have it, and what goes through ffmpeg.

use needs::Need;

use super::*;
use crate::error::Remedy;
use crate::read::ffmpeg::Ffmpeg;
use crate::read::pictures::{PictureReader, PictureSource};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");

/// Of values in [-1, 1].
fn psnr(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64;
    10.0 * (4.0 / error).log10()
}

#[test]
fn pictures_are_read_back_as_the_pixels_they_became() {
    let folder = folder();
    for (name, channels, enough) in
        [("frames", 3, 58.0), ("gray", 1, 58.0), ("clip.y4m", 3, 45.0), ("clip.gif", 3, 21.0), ("clip.mp4", 3, 33.0)]
    {
        let path = folder.path().join(name);
        let shape = shape(1, channels, 6, 48, 64);
        let data = clip(shape);
        write(&path, shape, &data);
        let (found, values) = read_all(&path, ReadOptions::default()).unwrap();
        assert_eq!((found.channels, found.frames, found.height, found.width), (3, Some(6), 48, 64), "{name}");
        let rate = found.rate.map(|rate| rate.frames() as f64 / f64::from(rate.seconds()));
        assert_eq!(rate, path.extension().map(|_| 12.5), "{name}");
        let expected = if channels == 1 { data.repeat(3) } else { data };
        let psnr = psnr(&values, &expected);
        assert!(psnr > enough, "{name}: {psnr}");
    }
}

#[test]
fn blocks_of_pictures_are_channel_first() {
    let folder = folder();
    let path = folder.path().join("frames");
    let shape = shape(1, 3, 5, 4, 6);
    write(&path, shape, &clip(shape));
    let (_, all) = read_all(&path, ReadOptions::default()).unwrap();
    let mut reader = open(&path, ReadOptions::default()).unwrap();
    assert_eq!(reader.read(0).unwrap_err().to_string(), "not a clip: a block of 0 frames was asked for");
    for (from, frames) in [(0, 2), (2, 2), (4, 1)] {
        let block = reader.read(2).unwrap().unwrap();
        assert_eq!((block.sample, block.frames), (0, frames));
        for c in 0..3 {
            let run = frames * 24;
            assert_eq!(block.data[c * run..][..run], all[(c * 5 + from) * 24..][..run]);
        }
    }
    assert_eq!(reader.read(2).unwrap(), None);
}

#[test]
fn odd_sizes_of_mp4_are_even_and_of_y4m_are_kept() {
    let folder = folder();
    let shape = shape(1, 3, 3, 33, 47);
    for (name, size) in [("a.mp4", (34, 48)), ("a.y4m", (33, 47))] {
        let path = folder.path().join(name);
        write(&path, shape, &clip(shape));
        let (found, _) = read_all(&path, ReadOptions::default()).unwrap();
        assert_eq!((found.height, found.width), size);
    }
}

#[test]
fn the_size_and_number_asked_for_are_returned() {
    let folder = folder();
    // Values that are gray all over might be in [0, 1].
    let range = |name: &str| name.ends_with(".npy").then_some(ValueRange::Signed);
    for name in ["frames", "clip.y4m", "clip.gif", "clip.mp4", "clip.npy", "clip.safetensors"] {
        let path = folder.path().join(name);
        let shape = shape(1, 3, 4, 32, 64);
        write(&path, shape, &vec![0.5; 3 * 4 * 32 * 64]);
        let options = ReadOptions { size: Some((16, 24)), frames: Some(2), range: range(name), axes: None };
        let (found, values) = read_all(&path, options).unwrap();
        assert_eq!((found.frames, found.height, found.width), (Some(2), 16, 24), "{name}");
        assert_eq!(values.len(), 3 * 2 * 16 * 24);
        assert!(values.iter().all(|value| (value - 0.5).abs() < 0.02), "{name}");
        let message =
            complaint_with(&path, ReadOptions { frames: Some(5), range: range(name), ..ReadOptions::default() });
        assert!(message.ends_with("5 frames were asked for, the clip has 4"), "{message}");
    }
    let path = folder.path().join("frames");
    assert!(
        complaint_with(&path, ReadOptions { frames: Some(0), ..ReadOptions::default() })
            .contains("0 frames of it were asked for")
    );
    for size in [(0, 4), (4, 0), (1 << 20, 1 << 20), (usize::MAX, usize::MAX)] {
        let message = complaint_with(&path, ReadOptions { size: Some(size), ..ReadOptions::default() });
        assert!(message.contains("expected 1 to 67108864 pixels"), "{message}");
    }
}

// ---- GIF

/// Frames of one colour each: left, top, width, height, disposal and delay.
type GifFrame = (u16, u16, u16, u16, ::gif::DisposalMethod, u16);

/// A GIF of 4x2 pixels whose frame i is painted in palette colour i + 1; colour 0 is transparent.
fn gif(frames: &[GifFrame]) -> Vec<u8> {
    let palette = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0];
    let mut bytes = vec![];
    let mut encoder = ::gif::Encoder::new(&mut bytes, 4, 2, &palette).unwrap();
    for (i, &(left, top, width, height, dispose, delay)) in frames.iter().enumerate() {
        let mut pixels = vec![i as u8 + 1; usize::from(width * height)];
        // The first pixel of later frames lets through what is below.
        pixels[0] = if i == 0 { 1 } else { 0 };
        let frame = ::gif::Frame {
            left,
            top,
            width,
            height,
            dispose,
            delay,
            transparent: Some(0),
            buffer: pixels.into(),
            ..::gif::Frame::default()
        };
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    bytes
}

#[test]
fn gif_frames_are_painted_over_each_other() {
    use ::gif::DisposalMethod::{Background, Keep, Previous};
    let (_folder, path) = file(
        "a.gif",
        &gif(&[(0, 0, 3, 2, Keep, 4), (1, 0, 2, 1, Previous, 4), (2, 0, 2, 2, Background, 4), (0, 1, 4, 1, Keep, 0)]),
    );
    let (found, values) = read_all(&path, ReadOptions::default()).unwrap();
    // 22 hundredths for four frames: a delay of 0 is shown as 10.
    assert_eq!((found.frames, found.rate), (Some(4), FrameRate::new(400.0 / 22.0).ok()));
    let letter = |t: usize, i: usize| {
        let value = |c: usize| values[(c * 4 + t) * 8 + i] > 0.0;
        match (value(0), value(1), value(2)) {
            (true, false, false) => 'r',
            (false, true, false) => 'g',
            (false, false, true) => 'b',
            (true, true, false) => 'y',
            (true, true, true) => '.',
            _ => '?',
        }
    };
    let frame = |t: usize| (0..8).map(|i| letter(t, i)).collect::<String>();
    assert_eq!(frame(0), "rrr.rrr.");
    assert_eq!(frame(1), "rrg.rrr.");
    // The second is undone; its own first pixel shows the first frame.
    assert_eq!(frame(2), "rrrbrrbb");
    // The third is cleared to unpainted.
    assert_eq!(frame(3), "rr...yyy".replacen("...y", "..ry", 1));
}

#[test]
fn bad_gifs_are_refused() {
    let bytes = gif(&[(0, 0, 4, 2, ::gif::DisposalMethod::Keep, 4), (0, 0, 4, 2, ::gif::DisposalMethod::Keep, 4)]);
    let whole = |bytes: &[u8], frames| {
        let (_folder, path) = file("a.gif", bytes);
        read_all(&path, ReadOptions { frames, ..ReadOptions::default() })
    };
    let (shape, values) = whole(&bytes, None).unwrap();
    // Only the mark of its end is missing.
    assert_eq!(whole(&bytes[..bytes.len() - 1], None).unwrap(), (shape, values.clone()));
    let first = whole(&bytes, Some(1)).unwrap().1;
    let (mut offered, mut between) = (false, 0);
    for end in 1..bytes.len() - 1 {
        let error = match whole(&bytes[..end], None) {
            Err(error) => error,
            // Between two frames a cut is no other than a missing mark of the end.
            Ok((_, values)) => {
                assert_eq!(values, first);
                between += 1;
                continue;
            }
        };
        let message = error.to_string();
        assert!(message.contains("damaged or cut off"), "{end}: {message}");
        if matches!(error, Error::BadClip { remedy: Some(Remedy::Frames(1)), .. }) {
            assert!(message.ends_with("frame 1; those before it are whole"), "{message}");
            assert_eq!(whole(&bytes[..end], Some(1)).unwrap().1, first);
            offered = true;
        }
    }
    assert_eq!(between, 1);
    assert!(offered);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let (_folder, path) = file("a.gif", &damaged);
        let _ = read_all(&path, ReadOptions::default());
    }
    let (_folder, path) = file("a.gif", b"GIF89a\x04\x00\x02\x00\x00\x00\x00;");
    assert!(complaint(&path).contains("cut off at frame 0"));
    let mut huge = bytes;
    huge[6..10].fill(0xff);
    let (_folder, path) = file("a.gif", &huge);
    assert!(complaint(&path).contains("a frame of 65535x65535"));
}

// ---- clips that people have

/// A clip of the folder of test data, read without ffmpeg.
fn read_here(name: &str) -> Result<(ReadShape, Vec<f32>)> {
    let mut reader = open_without_ffmpeg(format!("{DATA}{name}").as_ref(), ReadOptions::default())?;
    let data = reader.read(usize::MAX)?.unwrap().data;
    Ok((reader.shape(), data))
}

#[test]
fn fragmented_clips_and_sound_of_quicktime_are_read_here() {
    for name in ["frag.mp4", "v1-stereo.mov"] {
        let (found, values) = read_here(name).unwrap();
        assert_eq!((found.frames, found.height, found.width), (Some(9), 32, 48), "{name}");
        assert_eq!((found.rate, values.len()), (FrameRate::new(8.0).ok(), 3 * 9 * 32 * 48), "{name}");
    }
}

#[test]
fn both_ways_to_tell_colours_are_the_same_colours() {
    // One stream, which says that it does not know its matrix; `colr` says BT.709, as `nclc` and as
    // `nclx`.
    let [nclc, nclx] = ["nclc.mov", "nclx.mp4"].map(|name| read_here(name).unwrap().1);
    assert!(nclc == nclx);
    let unmarked = fs::read(format!("{DATA}nclc.mov")).unwrap();
    let at = unmarked.windows(4).position(|kind| kind == b"colr").unwrap();
    let (_folder, path) = file("a.mov", &[&unmarked[..at], b"free", &unmarked[at + 4..]].concat());
    let (_, unmarked) = read_all(&path, ReadOptions::default()).unwrap();
    // Colours of BT.601 are others.
    assert!(psnr(&nclc, &unmarked) < 40.0);
}

#[test]
fn what_h264_is_not_decoded_here_is_said() {
    let message = read_here("f444.mp4").unwrap_err().to_string();
    assert!(message.ends_with("its H.264 has 4:4:4 chroma, which is not decoded here"), "{message}");
}

// ---- ffmpeg

/// Makes a clip with ffmpeg; false, said, if there is none that can.
fn made_by_ffmpeg(path: &Path, arguments: &str) -> bool {
    let made = std::process::Command::new("ffmpeg")
        .args(
            "-nostdin -loglevel error -y -f lavfi -i testsrc2=size=64x48:rate=10,gblur=sigma=8 -frames:v 5".split(' '),
        )
        .args(arguments.split(' '))
        .arg(path)
        .output();
    let made = made.is_ok_and(|output| output.status.success());
    if !made {
        needs::skip("clips through ffmpeg", Need::Ffmpeg, &format!("put one on the PATH that knows {arguments}"));
    }
    made
}

#[test]
fn other_clips_go_through_ffmpeg() {
    let folder = folder();
    for (name, arguments) in [
        ("a.mkv", "-c:v ffv1 -pix_fmt gbrp"),
        ("a.mov", "-c:v mjpeg"),
        ("a.y4m", "-pix_fmt yuv420p10 -strict -1"),
        ("a.mp4", "-c:v libx264 -pix_fmt yuv444p"),
        ("d.mp4", "-c:v libx265 -x265-params log-level=error"),
        ("e.webm", "-c:v libvpx-vp9 -pix_fmt yuv420p"),
        ("f.avi", "-c:v mpeg4 -bf 2"),
        ("b.mp4", "-c:v libx264 -pix_fmt yuv420p -flags +ilme+ildct"),
        ("c.mp4", "-c:v libx264 -pix_fmt yuv420p -movflags +frag_keyframe+empty_moov"),
    ] {
        let path = folder.path().join(name);
        if !made_by_ffmpeg(&path, arguments) {
            continue;
        }
        let (found, values) = read_all(&path, ReadOptions::default()).unwrap();
        assert_eq!((found.height, found.width, found.rate), (48, 64, FrameRate::new(10.0).ok()), "{name}");
        assert_eq!(values.len(), 3 * 5 * 48 * 64, "{name}");
        let message = complaint_with(&path, ReadOptions { frames: Some(6), ..ReadOptions::default() });
        assert!(message.ends_with("6 frames were asked for, the clip has 5"), "{message}");
    }
    let path = folder.path().join("a.mkv");
    if path.exists() {
        let bytes = fs::read(&path).unwrap();
        for end in [20, bytes.len() * 2 / 3] {
            fs::write(&path, &bytes[..end]).unwrap();
            let message = complaint(&path);
            assert!(message.contains("ffmpeg failed at frame"), "{message}");
        }
    }
}

#[test]
fn each_frame_comes_once_through_ffmpeg_at_any_rate() {
    let folder = folder();
    let path = folder.path().join("a.mkv");
    // When frame N is shown, in seconds: at a rate, ever later, and with a gap.
    for time in ["N", "N/8", "N/16", "N*1001/24000", "N/60", "N/240", "N/1000", "N*N/70", "N*(1+N*N*N)/30"] {
        let times = format!("-vf settb=1/1000,setpts={time}/TB -enc_time_base 1/1000");
        if !made_by_ffmpeg(&path, &format!("{times} -c:v libx264 -qp 4 -pix_fmt yuv444p -bf 2")) {
            continue;
        }
        let (found, values) = read_all(&path, ReadOptions::default()).unwrap();
        assert_eq!(values.len(), 3 * 5 * 48 * 64, "{time}");
        assert!(found.rate.is_some(), "{time}");
        let frame = |t: usize| &values[t * 48 * 64..][..48 * 64];
        assert!((1..5).all(|t| frame(t) != frame(t - 1)), "{time}");
    }
}

#[test]
fn colours_are_those_of_ffmpeg() {
    let folder = folder();
    let path = folder.path().join("a.mp4");
    for marks in [
        "-pix_fmt yuv420p",
        "-pix_fmt yuvj420p",
        "-vf scale=out_color_matrix=bt709 -pix_fmt yuv420p -colorspace bt709",
        "-vf scale=out_color_matrix=bt2020 -pix_fmt yuv420p -colorspace bt2020nc -x264-params range=off",
    ] {
        if !made_by_ffmpeg(&path, &format!("-c:v libx264 -qp 4 {marks}")) {
            return;
        }
        let (_, ours) = read_all(&path, ReadOptions::default()).unwrap();
        let other: Box<dyn PictureSource> = Box::new(Ffmpeg::open(&path, "").unwrap());
        let mut other = PictureReader::boxed(&path, other, ReadOptions::default()).unwrap();
        let theirs = other.read(usize::MAX).unwrap().unwrap().data;
        // Chroma is interpolated differently; a wrong matrix or range is below 35.
        let psnr = psnr(&ours, &theirs);
        assert!(psnr > 40.0, "{marks}: {psnr}");
    }
}
