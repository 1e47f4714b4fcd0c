//! Every format written and read back by a reader that is not its writer, and every way to be refused.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A smooth clip that moves; all values in [-1, 1] but for one beyond in the first frame and a NaN in the last pixel.
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

/// The pixels a picture format should hold: a sample's frame as interleaved RGB.
fn expected(shape: ClipShape, sample: usize, t: usize) -> Vec<u8> {
    let data = block(&clip(shape), shape, sample, t, t + 1);
    let plane = shape.height * shape.width;
    (0..plane)
        .flat_map(|i| (0..3).map(move |c| (c.min(shape.channels - 1), i)))
        .map(|(c, i)| {
            let unit = (data[c * plane + i] / 2.0 + 0.5).clamp(0.0, 1.0);
            if unit.is_nan() { 0 } else { (unit * 255.0).round_ties_even() as u8 }
        })
        .collect()
}

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

/// The pictures of an MP4, decoded, as the planes of each; and its bytes.
fn decode_mp4(path: &Path) -> (Vec<rusty_h264::YuvFrame>, Vec<u8>) {
    use shiguredo_mp4::bitstream::h264::{LengthSize, length_prefixed_to_annexb};
    use shiguredo_mp4::boxes::SampleEntry;
    use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};

    let bytes = fs::read(path).unwrap();
    let mut demuxer = Mp4FileDemuxer::new();
    demuxer.handle_input(Input { position: 0, data: &bytes });
    assert_eq!(demuxer.tracks().unwrap().len(), 1);
    let mut stream = Vec::new();
    while let Some(sample) = demuxer.next_sample().unwrap() {
        if let Some(SampleEntry::Avc1(entry)) = sample.sample_entry {
            for set in entry.avcc_box.sps_list.iter().chain(&entry.avcc_box.pps_list) {
                stream.extend([0, 0, 0, 1]);
                stream.extend(set);
            }
        }
        let data = &bytes[sample.data_offset as usize..][..sample.data_size];
        stream.extend(length_prefixed_to_annexb(data, LengthSize::FourBytes).unwrap());
    }
    (rusty_h264::Decoder::new().decode_stream(&stream).unwrap(), bytes)
}

fn position(bytes: &[u8], of: &[u8]) -> usize {
    bytes.windows(of.len()).position(|window| window == of).unwrap()
}

#[test]
fn mp4_plays_with_its_index_in_front() {
    let folder = folder();
    // Even, odd in both directions, one frame, gray, one pixel.
    for (i, shape) in [shape(1, 3, 6, 48, 64), shape(1, 3, 5, 33, 47), shape(1, 1, 1, 16, 30), shape(1, 3, 2, 1, 1)]
        .into_iter()
        .enumerate()
    {
        let path = folder.path().join(format!("{i}.mp4"));
        let output = save(&path, shape, 23.976);
        let (frames, bytes) = decode_mp4(&path);
        assert_eq!((output.bytes, frames.len()), (bytes.len() as u64, shape.frames));
        assert!(position(&bytes, b"moov") < position(&bytes, b"mdat"));
        let colr = position(&bytes, b"colr");
        assert_eq!(&bytes[colr + 4..colr + 15], b"nclx\x00\x01\x00\x01\x00\x01\x00");
        for (t, frame) in frames.iter().enumerate() {
            let (width, height) = (shape.width.next_multiple_of(2), shape.height.next_multiple_of(2));
            assert_eq!((frame.width, frame.height), (width, height), "{shape:?}");
            let mut planes = colour::Planes::default();
            colour::BT709.halved(&expected(shape, 0, t), shape.width, &mut planes);
            if shape.width > 1 {
                assert!(mean_error(&frame.y, &planes.luma) < 1.5, "{shape:?} frame {t} luma");
                assert!(mean_error(&frame.u, &planes.blue) < 1.5, "{shape:?} frame {t} blue");
                assert!(mean_error(&frame.v, &planes.red) < 1.5, "{shape:?} frame {t} red");
            }
        }
    }
}

#[test]
fn gif_loops_and_keeps_its_length() {
    let folder = folder();
    let path = folder.path().join("out.gif");
    let shape = shape(1, 3, 8, 48, 64);
    save(&path, shape, 8.0);
    let mut options = ::gif::DecodeOptions::new();
    options.set_color_output(::gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(decoder.repeat(), ::gif::Repeat::Infinite);
    let (mut count, mut delay) = (0, 0);
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        assert_eq!((frame.width, frame.height), (64, 48));
        let rgb: Vec<u8> = frame.buffer.chunks_exact(4).flat_map(|pixel| pixel[..3].to_vec()).collect();
        let error = mean_error(&rgb, &expected(shape, 0, count));
        // These frames fill the whole colour cube; 256 colours spread evenly over it would be off by 10.
        assert!(error < 14.0, "frame {count}: {error}");
        (count, delay) = (count + 1, delay + u32::from(frame.delay));
    }
    assert_eq!((count, delay), (8, 100));
}

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
    for ending in ["mp4", "gif", "y4m"] {
        let output = save(&folder.path().join(format!("a.b.{ending}")), shape(2, 3, 2, 16, 16), 8.0);
        let names: Vec<PathBuf> = (0..2).map(|i| folder.path().join(format!("a.b-{i}.{ending}"))).collect();
        assert_eq!(output.paths, names);
        assert_ne!(fs::read(&names[0]).unwrap(), fs::read(&names[1]).unwrap());
    }
    assert_eq!(entries(folder.path()).len(), 6);
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

// ---- folders of PNGs

fn read_png(path: &Path) -> Vec<u8> {
    let mut reader = ::png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

#[test]
fn png_folders_hold_the_exact_pixels() {
    let folder = folder();
    for (name, channels) in [("frames", 3), ("gray.v1/", 1)] {
        let path = folder.path().join(name);
        let shape = shape(1, channels, 5, 6, 5);
        let output = save(&path, shape, 8.0);
        let names: Vec<String> = (0..5).map(|i| format!("frame-{i:05}.png")).collect();
        assert_eq!(entries(&output.paths[0]), names);
        for (t, name) in names.iter().enumerate() {
            assert_eq!(read_png(&path.join(name)), expected(shape, 0, t));
        }
        let sizes = names.iter().map(|name| fs::metadata(path.join(name)).unwrap().len());
        assert_eq!(output.bytes, sizes.sum::<u64>());
    }
}

#[test]
fn a_png_folder_replaces_only_our_own() {
    let folder = folder();
    let path = folder.path().join("out");
    fs::create_dir(&path).unwrap();
    save(&path, shape(2, 3, 4, 2, 2), 8.0);
    assert_eq!(entries(&path), ["0", "1"]);
    save(&path, shape(1, 3, 2, 2, 2), 8.0);
    assert_eq!(entries(&path), ["frame-00000.png", "frame-00001.png"]);
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let message = refused(&path, shape(1, 3, 2, 2, 2));
    assert!(message.contains("`notes.txt`") && message.contains("empty folder"), "{message}");
    fs::remove_file(path.join("notes.txt")).unwrap();

    // What comes while we write is not lost either.
    let shape = shape(1, 3, 1, 2, 2);
    let mut writer = create(&path, shape, rate(8.0)).unwrap();
    write_all(writer.as_mut(), &clip(shape), shape);
    fs::create_dir(path.join("photos")).unwrap();
    let Error::Files(files::Error::NotInPlace { problem, kept, .. }) = writer.finish().unwrap_err() else { panic!() };
    assert!(problem.contains("`photos`"), "{problem}");
    assert_eq!(entries(&path).len(), 3);
    assert_eq!(entries(&kept), ["frame-00000.png"], "finished work is not thrown away");
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

// ---- refusals

#[test]
fn a_dropped_writer_leaves_nothing_behind() {
    let folder = folder();
    let shape = shape(2, 3, 4, 16, 16);
    let data = clip(shape);
    for name in ["a.mp4", "a.gif", "a.y4m", "a/", "a.safetensors", "a.npy"] {
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
    assert!(message.contains("`.avi`") && message.contains(".mp4 (H.264)"), "{message}");
    for name in ["a.mp4", "a.gif", "a.y4m", "a/"] {
        let message = refused(&at(name), shape(1, 4, 1, 2, 2));
        assert!(message.contains("this clip has 4; write .safetensors or .npy"), "{message}");
    }
    assert!(refused(&at("a.npy"), shape(1, 3, 0, 2, 2)).contains("empty axis"));
    assert!(refused(&at("a.npy"), shape(usize::MAX, 3, 9, 2, 2)).contains("beyond any file's size"));
    assert!(refused(&at("a.gif"), shape(1, 3, 1, 1, 70000)).contains("65535 pixels"));
    assert!(refused(&at("a.mp4"), shape(1, 3, 1, 1, 70000)).contains("level 5.2"));
    assert_eq!(entries(folder.path()), [""; 0]);
}

#[test]
fn a_place_that_cannot_take_the_output_is_refused_at_once() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder.mp4")).unwrap();
    let shape = shape(1, 3, 1, 2, 2);
    let complaint = |name: &str| refused(&folder.path().join(name), shape);
    for name in ["missing/a.mp4", "missing/a.npy", "missing/a/"] {
        assert!(complaint(name).contains("make it first"), "{name}");
    }
    assert!(complaint("file/a.gif").contains("is not a folder"));
    assert!(complaint("file").contains("there is a file of this name"));
    assert!(complaint("folder.mp4").contains("there is a folder of this name"));
    assert!(refused(Path::new("/"), shape).contains("no name for a new folder"));
    // No one may make files here, not even root.
    #[cfg(target_os = "linux")]
    for name in ["/proc/a.mp4", "/proc/a.safetensors", "/proc/a/"] {
        assert!(refused(Path::new(name), shape).contains("nothing can be written into the folder `/proc`"), "{name}");
    }
}
