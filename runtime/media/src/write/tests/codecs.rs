//! MP4, GIF and folders of PNGs.

use super::*;

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
        // These frames fill the whole colour cube; 256 colours spread evenly over it would be off
        // by 10.
        assert!(error < 14.0, "frame {count}: {error}");
        (count, delay) = (count + 1, delay + u32::from(frame.delay));
    }
    assert_eq!((count, delay), (8, 100));
}

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
fn a_png_is_one_frame_of_a_sample() {
    let folder = folder();
    let path = folder.path().join("a.PNG");
    let one = shape(1, 3, 1, 6, 5);
    let output = save(&path, one, 8.0);
    assert_eq!((read_png(&path), output.bytes), (expected(one, 0, 0), fs::metadata(&path).unwrap().len()));
    assert_eq!(output.bytes, to_bytes("a.png", one).1.len() as u64);
    let two = shape(2, 1, 1, 6, 5);
    let paths = save(&folder.path().join("b.png"), two, 8.0).paths;
    assert_eq!(paths, ["b-0.png", "b-1.png"].map(|name| folder.path().join(name)));
    for (sample, path) in paths.iter().enumerate() {
        assert_eq!(read_png(path), expected(two, sample, 0));
    }
    let message = refused(&folder.path().join("c.png"), shape(1, 3, 2, 6, 5));
    assert!(message.contains("a PNG is one frame, and this clip has 2; a path without an ending"), "{message}");
    assert_eq!(entries(folder.path()), ["a.PNG", "b-0.png", "b-1.png"]);
}

fn read_webp(path: &Path) -> Vec<u8> {
    let mut decoder = image_webp::WebPDecoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).unwrap();
    let mut pixels = vec![0; decoder.output_buffer_size().unwrap()];
    decoder.read_image(&mut pixels).unwrap();
    pixels
}

#[test]
fn transparency_is_kept_where_a_format_has_it() {
    let folder = folder();
    let one = shape(1, 4, 1, 6, 5);
    for (name, read) in [("a.png", read_png as fn(&Path) -> Vec<u8>), ("a.webp", read_webp)] {
        let path = folder.path().join(name);
        save(&path, one, 8.0);
        assert_eq!(read(&path), expected(one, 0, 0), "{name}");
    }
    save(&folder.path().join("frames"), shape(1, 4, 2, 6, 5), 8.0);
    assert_eq!(read_png(&folder.path().join("frames/frame-00001.png")), expected(shape(1, 4, 2, 6, 5), 0, 1));
    for name in ["b.jpg", "b.mp4", "b.gif", "b.y4m"] {
        let message = refused(&folder.path().join(name), one);
        assert!(message.contains("RGB and transparency), and the format has none; write .png or .webp"), "{message}");
    }
}

#[test]
fn webp_is_without_loss_and_jpeg_nearly() {
    let folder = folder();
    for shape in [shape(1, 3, 1, 33, 47), shape(1, 1, 1, 16, 30), shape(2, 3, 1, 24, 16)] {
        let webp = save(&folder.path().join("a.webp"), shape, 8.0).paths;
        let jpeg = save(&folder.path().join("a.JPEG"), shape, 8.0).paths;
        assert_eq!((webp.len(), jpeg.len()), (shape.batch, shape.batch));
        for (sample, (webp, jpeg)) in webp.iter().zip(&jpeg).enumerate() {
            assert_eq!(read_webp(webp), expected(shape, sample, 0));
            let bytes = fs::read(jpeg).unwrap();
            let decoded = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(&bytes)).decode().unwrap();
            let error = mean_error(&decoded, &expected(shape, sample, 0));
            assert!(error < 2.0, "{shape:?}: {error}");
        }
    }
    for (name, width, what) in [("b.webp", 1 << 14, "WebP"), ("b.jpg", 1 << 16, "JPEG")] {
        let message = refused(&folder.path().join(name), shape(1, 3, 1, 1, width + 1));
        assert!(message.contains(&format!("a {what} has at most ")), "{message}");
    }
    let message = refused(&folder.path().join("c.jpg"), shape(1, 3, 2, 6, 5));
    assert!(message.contains("a JPEG is one frame, and this clip has 2"), "{message}");
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
fn frames_too_large_for_a_format_are_refused() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    assert!(refused(&at("a.gif"), shape(1, 3, 1, 1, 70000)).contains("65535 pixels"));
    assert!(refused(&at("a.mp4"), shape(1, 3, 1, 1, 70000)).contains("level 5.2"));
    assert_eq!(entries(folder.path()), [""; 0]);
}

#[test]
fn a_folder_takes_no_name_of_a_file() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    let shape = shape(1, 3, 1, 2, 2);
    assert!(refused(&folder.path().join("file"), shape).contains("there is a file of this name"));
    assert!(refused(Path::new("/"), shape).contains("no name for a new folder"));
}
