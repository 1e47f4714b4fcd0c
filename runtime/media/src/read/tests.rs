//! What our writers write, read back; every other format from bytes made here; and every way to be
//! refused.

mod array_files;
#[cfg(feature = "codecs")]
mod clips;
#[cfg(feature = "codecs")]
mod picture_files;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::error::{Error, Result};
use crate::read::clip_file::ClipFile;
use crate::{ClipShape, FrameBlock, FrameRate, create};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A file of these bytes in a folder of its own.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// A smooth clip [B, C, T, H, W] that moves.
fn clip(shape: ClipShape) -> Vec<f32> {
    let mut data = vec![];
    for b in 0..shape.batch {
        for c in 0..shape.channels {
            for t in 0..shape.frames {
                for y in 0..shape.height {
                    for x in 0..shape.width {
                        let phase = (x + 2 * t) as f32 * 0.11 + y as f32 * 0.07 * (c + 1) as f32 + b as f32;
                        data.push(phase.sin() * 0.9);
                    }
                }
            }
        }
    }
    data
}

fn shape(batch: usize, channels: usize, frames: usize, height: usize, width: usize) -> ClipShape {
    ClipShape { batch, channels, frames, height, width }
}

/// Writes the clip with our own writer.
fn write(path: &Path, shape: ClipShape, data: &[f32]) {
    let mut writer = create(path, shape, FrameRate::new(12.5).unwrap()).unwrap();
    for (sample, data) in data.chunks_exact(data.len() / shape.batch).enumerate() {
        writer.write(sample, &FrameBlock { data, frames: shape.frames }).unwrap();
    }
    writer.finish().unwrap();
}

/// All of a clip, sample by sample, each [C, T, H, W].
fn read_all(path: &Path, options: ReadOptions) -> Result<(ReadShape, Vec<f32>)> {
    let mut reader = open(path, options)?;
    let mut data = vec![];
    let mut samples = 0;
    while let Some(block) = reader.read(usize::MAX)? {
        assert_eq!(block.sample, samples);
        samples += 1;
        data.extend(block.data);
    }
    assert_eq!((samples, reader.shape().batch), (reader.shape().batch, samples));
    assert_eq!(reader.read(1)?, None, "and nothing behind the end");
    Ok((reader.shape(), data))
}

fn complaint(path: &Path) -> String {
    complaint_with(path, ReadOptions::default())
}

fn complaint_with(path: &Path, options: ReadOptions) -> String {
    match read_all(path, options) {
        Ok((shape, _)) => panic!("{} should be refused, it is {shape:?}", path.display()),
        Err(error) => error.to_string(),
    }
}

// ---- round trips

#[test]
fn arrays_are_read_back_as_they_were_written() {
    let folder = folder();
    for name in ["clip.npy", "clip.safetensors"] {
        let path = folder.path().join(name);
        let shape = shape(2, 5, 7, 3, 4);
        let data = clip(shape);
        write(&path, shape, &data);
        // So dark a corner of the wave might be in [0, 1].
        let range = name.ends_with(".npy").then_some(ValueRange::Signed);
        let options = ReadOptions { range, ..ReadOptions::default() };
        let (found, values) = read_all(&path, options).unwrap();
        let ReadShape { batch, channels, frames, height, width, rate } = found;
        assert_eq!((batch, channels, frames, height, width, rate), (2, 5, Some(7), 3, 4, None));
        assert_eq!(values, data);

        // In blocks, which end with the sample, and only the first frames.
        let mut reader = open(&path, ReadOptions { frames: Some(5), ..options }).unwrap();
        let mut blocks = vec![];
        while let Some(block) = reader.read(3).unwrap() {
            let first = [0, 3][blocks.len() % 2];
            for c in 0..5 {
                let at = ((block.sample * 5 + c) * 7 + first) * 12;
                let run = block.frames * 12;
                assert_eq!(block.data[c * run..][..run], data[at..at + run]);
            }
            blocks.push((block.sample, block.frames));
        }
        assert_eq!(blocks, [(0, 3), (0, 2), (1, 3), (1, 2)]);
    }
}

// ---- Y4M

#[test]
fn every_layout_of_y4m_is_read() {
    // Gray in all of them: 235 is white, 16 black.
    for (layout, chroma) in
        [("444", 30), ("422", 18), ("420", 12), ("420jpeg", 12), ("420mpeg2", 12), ("420paldv", 12), ("mono", 0)]
    {
        let mut bytes = format!("YUV4MPEG2 W5 H3 F30000:1001 Ip A1:1 C{layout} XHELLO\n").into_bytes();
        for luma in [16, 235] {
            bytes.extend(b"FRAME\n");
            bytes.extend([luma; 15]);
            bytes.extend(vec![128; if layout == "444" { 30 } else { chroma }]);
        }
        let (_folder, path) = file("clip.y4m", &bytes);
        let (found, values) = read_all(&path, ReadOptions::default()).unwrap();
        assert_eq!((found.frames, found.rate), (Some(2), FrameRate::new(29.97).ok()), "{layout}");
        assert!(values.chunks(15).enumerate().all(|(i, plane)| plane == [[-1.0, 1.0][i % 2]; 15]), "{layout}");
    }
}

#[test]
fn bad_y4m_is_refused() {
    let message = |text: &str| {
        let (_folder, path) = file("clip.y4m", text.as_bytes());
        complaint(&path)
    };
    assert!(message("RIFF").contains("does not begin with YUV4MPEG2"));
    assert!(message("YUV4MPEG2 W2 H2").contains("does not begin with YUV4MPEG2"));
    assert!(message("YUV4MPEG2 W2 H2 Cmono\n").contains("it has no frames"));
    assert!(message("YUV4MPEG2 W2 H0 Cmono\n").contains("a frame of 2x0"));
    assert!(message("YUV4MPEG2 W99999999999 H99999999999\n").contains("a frame of 99999999999x99999999999"));
    assert!(message("YUV4MPEG2 W2 H2 Cmono\nFRAME\nabc").contains("cut off in frame 0"));
    assert!(message("YUV4MPEG2 W2 H2 Cmono\nFRAME\nabcdFRAM").contains("no FRAME line where frame 1"));
    assert!(message("YUV4MPEG2 W8192 H8192\nFRAME\n").contains("cut off in frame 0"));
    let (_folder, path) = file("clip.y4m", b"YUV4MPEG2 W2 H2 C420p10\n");
    assert!(matches!(
        y4m::Y4m::open(&ClipFile::open(&path).unwrap()),
        Err(Error::UnsupportedInput { problem, .. }) if problem.contains("C420p10")
    ));
}

// ---- places

#[test]
fn what_is_not_there_or_no_clip_is_said() {
    let folder = folder();
    let message = complaint(&folder.path().join("clip.mp4"));
    assert!(message.contains(&format!("no such file; expected a clip: {KNOWN_INPUTS}")), "{message}");
    for name in ["a.mp4", "a.gif", "a.npy", "a.y4m", "a.safetensors", "a.png", "a.mkv", "a"] {
        let path = folder.path().join(name);
        fs::write(&path, "").unwrap();
        assert!(complaint(&path).contains("it is empty"), "{name}");
    }
    #[cfg(unix)]
    assert!(complaint("/dev/null".as_ref()).contains("neither a regular file nor a folder"));
}

// ---- what is no file

#[test]
fn bytes_are_read_as_the_file_that_they_would_be() {
    let folder = folder();
    let mut names = vec!["clip.y4m", "clip.npy", "clip.safetensors"];
    if cfg!(feature = "codecs") {
        names.extend(["clip.mp4", "clip.gif"]);
    }
    for name in names {
        let path = folder.path().join(name);
        let shape = shape(1, 3, 3, 16, 16);
        write(&path, shape, &clip(shape));
        let range = name.ends_with(".npy").then_some(ValueRange::Signed);
        let options = ReadOptions { range, ..ReadOptions::default() };
        let (found, values) = read_all(&path, options).unwrap();
        let spooled = Spooled::of_bytes(name.as_ref(), &fs::read(&path).unwrap()[..]).unwrap();
        for _ in 0..2 {
            let mut reader = spooled.open(options).unwrap();
            assert_eq!(reader.shape(), found, "{name}");
            assert_eq!(reader.read(usize::MAX).unwrap().unwrap().data, values, "{name}");
        }
    }
    let complaint = |bytes: &[u8]| {
        let spooled = Spooled::of_bytes("stream".as_ref(), bytes).unwrap();
        spooled.open(ReadOptions::default()).err().unwrap().to_string()
    };
    assert_eq!(complaint(b""), "stream: not a usable clip: it is empty");
    assert!(complaint(b"<html>").contains("stream: not a usable clip: it is an HTML page"));
}

#[test]
#[cfg(not(feature = "codecs"))]
fn what_needs_a_codec_is_said_to() {
    let folder = folder();
    for (name, bytes, what) in [
        ("a.mp4", &b"\0\0\0\x18ftypisom...."[..], "reading MP4 or QuickTime"),
        ("a.gif", b"GIF89a", "reading a GIF"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "reading a PNG"),
        ("a.mkv", b"\x1aE\xdf\xa3", "reading a clip of no format that is known here"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = complaint(&path);
        assert!(message.contains(&format!("{name}: {what} needs codecs, and this build has none")), "{message}");
    }
    assert!(complaint(folder.path()).contains("a folder of pictures needs codecs"));
    let (_folder, path) = file("a.y4m", b"YUV4MPEG2 W2 H2 Cmono\nFRAME\nabcd");
    let options = ReadOptions { size: Some((4, 4)), ..ReadOptions::default() };
    assert!(complaint_with(&path, options).contains("resizing needs codecs"));
}
