//! Every format written and read back by a reader that is not its writer, and every way to be
//! refused.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::clip::FrameBlock;
use crate::colour;
use crate::error::Error;

#[cfg(feature = "codecs")]
mod codecs;

/// Endings of clips of pictures.
const CLIPS: &[&str] = if cfg!(feature = "codecs") { &["y4m", "gif", "mp4"] } else { &["y4m"] };
/// Names of outputs of every format.
const OUTPUTS: &[&str] = if cfg!(feature = "codecs") {
    &["a.safetensors", "a.npy", "a.y4m", "a.gif", "a.mp4", "a/"]
} else {
    &["a.safetensors", "a.npy", "a.y4m"]
};

/// A smooth clip that moves; all values in [-1, 1] but for one beyond in the first frame and a NaN
/// in the last pixel.
fn clip(shape: ClipShape) -> Vec<f32> {
    let [batch, channels, frames, height, width] = shape.axes();
    let mut data = Vec::new();
    for b in 0..batch {
        for c in 0..channels {
            for t in 0..frames {
                for y in 0..height {
                    for x in 0..width {
                        let phase = (x + 2 * t) as f32 * 0.11 + (y as f32) * 0.07 * (c + 1) as f32 + b as f32;
                        data.push(phase.sin() * 0.9);
                    }
                }
            }
        }
    }
    data[0] = 1.5;
    *data.last_mut().unwrap() = f32::NAN;
    data
}

fn shape(batch: usize, channels: usize, frames: usize, height: usize, width: usize) -> ClipShape {
    ClipShape { batch, channels, frames, height, width }
}

fn rate(fps: f64) -> FrameRate {
    FrameRate::new(fps).unwrap()
}

/// One sample's frames `from..to` of a [B, C, T, H, W] clip as [C, T, H, W].
fn block(clip: &[f32], shape: ClipShape, sample: usize, from: usize, to: usize) -> Vec<f32> {
    let plane = shape.height * shape.width;
    (0..shape.channels)
        .flat_map(|c| {
            let first = (sample * shape.channels + c) * shape.frames;
            clip[(first + from) * plane..(first + to) * plane].iter().copied()
        })
        .collect()
}

/// Writes the whole clip in blocks of one frame, then three, then the rest.
fn write_all(writer: &mut dyn ClipWriter, clip: &[f32], shape: ClipShape) {
    for sample in 0..shape.batch {
        let mut from = 0;
        for to in [1, 4, shape.frames] {
            let to = to.min(shape.frames);
            if to > from {
                let data = block(clip, shape, sample, from, to);
                writer.write(sample, &FrameBlock { data: &data, frames: to - from }).unwrap();
                from = to;
            }
        }
    }
}

fn save(path: &Path, shape: ClipShape, fps: f64) -> Output {
    let mut writer = create(path, shape, rate(fps)).unwrap();
    write_all(writer.as_mut(), &clip(shape), shape);
    writer.finish().unwrap()
}

/// The pixels a picture format should hold: a sample's frame as interleaved RGB or RGBA.
fn expected(shape: ClipShape, sample: usize, t: usize) -> Vec<u8> {
    let data = block(&clip(shape), shape, sample, t, t + 1);
    let plane = shape.height * shape.width;
    (0..plane)
        .flat_map(|i| (0..shape.channels.max(3)).map(move |c| (c.min(shape.channels - 1), i)))
        .map(|(c, i)| {
            let unit = (data[c * plane + i] / 2.0 + 0.5).clamp(0.0, 1.0);
            if unit.is_nan() { 0 } else { (unit * 255.0).round_ties_even() as u8 }
        })
        .collect()
}

#[cfg(feature = "codecs")]
fn mean_error(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

/// Everything in a folder, also hidden.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn refused(path: &Path, shape: ClipShape) -> String {
    match create(path, shape, rate(8.0)) {
        Ok(_) => panic!("{} should be refused", path.display()),
        Err(error) => error.to_string(),
    }
}

// ---- arrays

#[test]
fn safetensors_hold_the_values_as_they_are() {
    let folder = folder();
    let path = folder.path().join("out.safetensors");
    let shape = shape(2, 5, 7, 3, 2);
    let output = save(&path, shape, 8.0);
    assert_eq!(output.paths, std::slice::from_ref(&path));
    let bytes = fs::read(&path).unwrap();
    assert_eq!(output.bytes, bytes.len() as u64);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names(), ["sample"]);
    let tensor = file.tensor("sample").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (safetensors::Dtype::F32, &shape.axes()[..]));
    let written: Vec<u8> = clip(shape).iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(tensor.data(), written);
    assert_eq!((bytes.len() - written.len()) % 8, 0, "values are aligned");
}

#[test]
fn npy_holds_the_values_as_they_are() {
    let folder = folder();
    let path = folder.path().join("out.NPY");
    let shape = shape(1, 3, 2, 3, 5);
    save(&path, shape, 8.0);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert_eq!(header.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 2, 3, 5), }");
    assert!(header.ends_with('\n') && (10 + length).is_multiple_of(64));
    let written: Vec<u8> = clip(shape).iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(&bytes[10 + length..], written);
}

// ---- clips

#[test]
fn y4m_has_a_header_and_every_frame() {
    let folder = folder();
    let path = folder.path().join("out.y4m");
    let shape = shape(1, 3, 5, 9, 7);
    save(&path, shape, 29.97);
    let mut decoder = ::y4m::decode(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!((decoder.get_width(), decoder.get_height()), (7, 9));
    assert_eq!((decoder.get_framerate().num, decoder.get_framerate().den), (30000, 1001));
    assert!(matches!(decoder.get_colorspace(), ::y4m::Colorspace::C444));
    let mut planes = colour::Planes::default();
    for t in 0..5 {
        let frame = decoder.read_frame().unwrap();
        colour::BT601.full(&expected(shape, 0, t), &mut planes);
        assert_eq!(frame.get_y_plane(), planes.luma);
        assert_eq!(frame.get_u_plane(), planes.blue);
        assert_eq!(frame.get_v_plane(), planes.red);
    }
    assert!(matches!(decoder.read_frame(), Err(::y4m::Error::EOF)));
}

#[test]
fn a_batch_is_one_file_a_sample() {
    let folder = folder();
    for ending in CLIPS {
        let output = save(&folder.path().join(format!("a.b.{ending}")), shape(2, 3, 2, 16, 16), 8.0);
        let names: Vec<PathBuf> = (0..2).map(|i| folder.path().join(format!("a.b-{i}.{ending}"))).collect();
        assert_eq!(output.paths, names);
        assert_ne!(fs::read(&names[0]).unwrap(), fs::read(&names[1]).unwrap());
    }
    assert_eq!(entries(folder.path()).len(), 2 * CLIPS.len());
}

#[test]
fn an_existing_file_is_replaced() {
    let folder = folder();
    let path = folder.path().join("out.y4m");
    fs::write(&path, "old").unwrap();
    let shape = shape(1, 3, 1, 2, 2);
    let mut writer = create(&path, shape, rate(8.0)).unwrap();
    write_all(writer.as_mut(), &clip(shape), shape);
    assert_eq!(fs::read(&path).unwrap(), b"old", "until it is finished");
    writer.finish().unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"YUV4MPEG2"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain), "permissions are those of any new file");
    }
}

#[test]
fn a_finished_file_is_kept_if_its_place_is_taken() {
    let folder = folder();
    let path = folder.path().join("out.npy");
    let shape = shape(1, 3, 1, 2, 2);
    let mut writer = create(&path, shape, rate(8.0)).unwrap();
    write_all(writer.as_mut(), &clip(shape), shape);
    fs::create_dir(&path).unwrap();
    let Error::Files(files::Error::NotInPlace { kept, .. }) = writer.finish().unwrap_err() else { panic!() };
    assert!(fs::read(kept).unwrap().starts_with(b"\x93NUMPY"));
}

#[test]
fn arrays_of_images_have_four_axes() {
    let folder = folder();
    let shape = shape(2, 3, 1, 4, 5);
    for name in ["a.npy", "a.safetensors"] {
        let path = folder.path().join(name);
        let mut writer = create_images(&path, shape, rate(8.0)).unwrap();
        write_all(writer.as_mut(), &clip(shape), shape);
        writer.finish().unwrap();
        let file = files::tensor_file::TensorFile::open(&path, "an array").unwrap();
        let [tensor] = &file.names()[..] else { panic!("one tensor") };
        assert_eq!(file.shape(tensor), Some(&[2, 3, 4, 5][..]), "{name}");
        let values = file.to_f32(tensor).unwrap();
        assert!(
            values.iter().zip(clip(shape)).all(|(found, expected)| found.to_bits() == expected.to_bits()),
            "{name}"
        );
    }
    let two = ClipShape { frames: 2, ..shape };
    let message = create_images(&folder.path().join("b.npy"), two, rate(8.0)).err().unwrap().to_string();
    assert!(message.contains("an image is one frame, and this clip has 2"), "{message}");
}

// ---- refusals

#[test]
fn a_dropped_writer_leaves_nothing_behind() {
    let folder = folder();
    let shape = shape(2, 3, 4, 16, 16);
    let data = clip(shape);
    for name in OUTPUTS {
        let mut writer = create(&folder.path().join(name), shape, rate(8.0)).unwrap();
        writer.write(0, &FrameBlock { data: &block(&data, shape, 0, 0, 4), frames: 4 }).unwrap();
        writer.write(1, &FrameBlock { data: &block(&data, shape, 1, 0, 2), frames: 2 }).unwrap();
        drop(writer);
        assert_eq!(entries(folder.path()), [""; 0], "{name}");
        // Finished too early: the same, and said.
        let writer = create(&folder.path().join(name), shape, rate(8.0)).unwrap();
        let message = writer.finish().unwrap_err().to_string();
        assert!(message.contains("only 0 of 4 frames of sample 0"), "{message}");
        assert_eq!(entries(folder.path()), [""; 0], "{name}");
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    let folder = folder();
    let shape = shape(2, 3, 2, 4, 4);
    let data = vec![0.0; 3 * 3 * 16];
    let complaint = |sample: usize, frames: usize, values: usize| {
        let mut writer = create(&folder.path().join("a.npy"), shape, rate(8.0)).unwrap();
        writer.write(sample, &FrameBlock { data: &data[..values], frames }).unwrap_err().to_string()
    };
    assert!(complaint(1, 1, 48).contains("frame 0 of sample 0 was due"));
    assert!(complaint(0, 3, 144).contains("a block of 3 frames came after 0 of 2"));
    assert!(complaint(0, 0, 0).contains("a block of 0 frames"));
    assert!(complaint(0, 2, 95).contains("[3, 2, 4, 4] has 96 values, 95 came"));
}

#[test]
fn what_no_format_can_hold_is_refused() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let message = refused(&at("a.avi"), shape(1, 3, 1, 2, 2));
    assert!(message.contains("`.avi`") && message.contains(KNOWN_OUTPUTS), "{message}");
    for name in &OUTPUTS[2..] {
        let message = refused(&at(name), shape(1, 5, 1, 2, 2));
        assert!(message.contains("this clip has 5; write .safetensors or .npy"), "{message}");
    }
    assert!(refused(&at("a.npy"), shape(1, 3, 0, 2, 2)).contains("empty axis"));
    assert!(refused(&at("a.npy"), shape(usize::MAX, 3, 9, 2, 2)).contains("beyond any file's size"));
    assert_eq!(entries(folder.path()), [""; 0]);
}

#[test]
fn a_place_that_cannot_take_the_output_is_refused_at_once() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder.y4m")).unwrap();
    let shape = shape(1, 3, 1, 2, 2);
    let complaint = |name: &str| refused(&folder.path().join(name), shape);
    for name in OUTPUTS {
        assert!(complaint(&format!("missing/{name}")).contains("make it first"), "{name}");
    }
    assert!(complaint("file/a.y4m").contains("is not a folder"));
    assert!(complaint("folder.y4m").contains("there is a folder of this name"));
    // No one may make files here, not even root.
    #[cfg(target_os = "linux")]
    for name in OUTPUTS {
        let message = refused(&Path::new("/proc").join(name), shape);
        assert!(message.contains("nothing can be written into the folder `/proc`"), "{message}");
    }
}

// ---- what is no file

/// Writes the whole clip by `write_to`, to bytes.
fn to_bytes(name: &str, shape: ClipShape) -> (Output, Vec<u8>) {
    let mut bytes = std::io::Cursor::new(vec![]);
    let mut writer = write_to(name.as_ref(), &mut bytes, shape, rate(8.0)).unwrap();
    write_all(writer.as_mut(), &clip(shape), shape);
    (writer.finish().unwrap(), bytes.into_inner())
}

#[test]
fn bytes_are_those_of_the_file() {
    let folder = folder();
    for name in OUTPUTS.iter().filter(|name| **name != "a/") {
        let shape = shape(1, 3, 5, 16, 16);
        let path = folder.path().join(name);
        save(&path, shape, 8.0);
        let (output, bytes) = to_bytes(name, shape);
        assert_eq!(bytes, fs::read(&path).unwrap(), "{name}");
        assert_eq!(output, Output { paths: vec![name.into()], bytes: bytes.len() as u64 }, "{name}");
    }
    assert_eq!(to_bytes("a.npy", shape(2, 4, 3, 2, 2)).1.len(), 128 + 4 * 2 * 4 * 3 * 2 * 2);
}

#[test]
fn what_cannot_be_written_to_bytes_is_refused() {
    let refused = |name: &str, shape| {
        write_to(name.as_ref(), std::io::Cursor::new(vec![]), shape, rate(8.0)).err().unwrap().to_string()
    };
    let two = shape(2, 3, 1, 2, 2);
    assert!(refused("a.y4m", two).contains("a clip is one sample, and this batch has 2; write files, or an array"));
    assert!(refused("frames/", two).contains("a folder of PNGs is no single file"));
    assert!(refused("a.y4m", shape(1, 4, 1, 2, 2)).contains("this clip has 4"));
    assert!(refused("a.npy", shape(0, 3, 1, 2, 2)).contains("empty axis"));
    // A place that is full.
    let mut full = [0; 100];
    let to = std::io::Cursor::new(&mut full[..]);
    let shape = shape(1, 3, 1, 8, 8);
    let mut writer = write_to("a.y4m".as_ref(), to, shape, rate(8.0)).unwrap();
    let message = writer.write(0, &FrameBlock { data: &[0.0; 192], frames: 1 }).unwrap_err().to_string();
    assert!(message.starts_with("a.y4m: writing failed: "), "{message}");
}

#[test]
#[cfg(not(feature = "codecs"))]
fn what_needs_a_codec_is_said_to() {
    let shape = shape(1, 3, 1, 2, 2);
    for (name, what) in [
        ("a.mp4", "MP4"),
        ("a.gif", "GIF"),
        ("a.png", "PNG"),
        ("a.jpeg", "JPEG"),
        ("a.webp", "WebP"),
        ("a/", "a folder of PNGs"),
    ] {
        let message = refused(Path::new(name), shape);
        assert!(message.contains(&format!("{name}: {what} needs codecs, and this build has none")), "{message}");
    }
    let to = std::io::Cursor::new(vec![]);
    assert!(matches!(write_to("a.gif".as_ref(), to, shape, rate(8.0)), Err(Error::NoCodecs { .. })));
}
