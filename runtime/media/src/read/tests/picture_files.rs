//! PNG, JPEG and WebP, alone and in folders, upright, animated, under any name; and every way to be
//! refused.

use super::*;
use crate::error::Remedy;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");

fn png(
    width: u32,
    height: u32,
    colour: ::png::ColorType,
    depth: ::png::BitDepth,
    palette: &[u8],
    data: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = ::png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The pixels of a clip of one frame.
fn pixels(path: &Path) -> Vec<u8> {
    let (_, values) = read_all(path, ReadOptions::default()).unwrap();
    let plane = values.len() / 3;
    let pixel = |i: usize| ((values[i % 3 * plane + i / 3] + 1.0) * 127.5).round() as u8;
    (0..values.len()).map(pixel).collect()
}

#[test]
fn every_kind_of_png_is_read() {
    use ::png::{BitDepth, ColorType};
    let check = |colour, depth, palette: &[u8], data: &[u8], expected: [u8; 6]| {
        let (_folder, path) = file("a.PNG", &png(2, 1, colour, depth, palette, data));
        assert_eq!(pixels(&path), expected, "{colour:?} {depth:?}");
    };
    check(ColorType::Rgb, BitDepth::Eight, &[], &[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]);
    check(ColorType::Rgba, BitDepth::Eight, &[], &[1, 2, 3, 0, 4, 5, 6, 9], [1, 2, 3, 4, 5, 6]);
    check(ColorType::Grayscale, BitDepth::Eight, &[], &[7, 200], [7, 7, 7, 200, 200, 200]);
    check(ColorType::Grayscale, BitDepth::One, &[], &[0b0100_0000], [0, 0, 0, 255, 255, 255]);
    check(ColorType::GrayscaleAlpha, BitDepth::Eight, &[], &[7, 0, 200, 1], [7, 7, 7, 200, 200, 200]);
    check(ColorType::Indexed, BitDepth::Four, &[1, 2, 3, 4, 5, 6], &[0x10], [4, 5, 6, 1, 2, 3]);
    // 0x0180 / 257 is 1.49, 0x0182 / 257 is 1.502.
    check(ColorType::Grayscale, BitDepth::Sixteen, &[], &[1, 0x80, 1, 0x82], [1, 1, 1, 2, 2, 2]);
    let sixteen = [0, 0, 0xff, 0xff, 0x80, 0x80, 0, 0, 1, 1, 2, 2, 3, 3, 0, 0];
    check(ColorType::Rgba, BitDepth::Sixteen, &[], &sixteen, [0, 255, 128, 1, 2, 3]);
}

#[test]
fn jpegs_are_read() {
    // Made by ffmpeg and cjpeg: 16x8, left half (200, 60, 40), right half (20, 90, 220); and the
    // same in gray.
    for (name, expected) in [("halves.jpg", [[200, 60, 40], [20, 90, 220]]), ("gray.jpg", [[100; 3], [84; 3]])] {
        let found = pixels(format!("{DATA}{name}").as_ref());
        assert_eq!(found.len(), 16 * 8 * 3);
        for (i, pixel) in found.chunks_exact(3).enumerate() {
            if (4..12).contains(&(i % 16)) {
                continue; // where chroma of half the resolution blurs the border
            }
            let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 12;
            assert!(pixel.iter().zip(&expected[i % 16 / 8]).all(near), "{name} {i}: {pixel:?}");
        }
        let bytes = fs::read(format!("{DATA}{name}")).unwrap();
        for end in (0..bytes.len() - 2).step_by(5) {
            let (_folder, path) = file("cut.jpg", &bytes[..end]);
            let message = complaint(&path);
            assert!(message.contains("cut off") || end == 0, "{end} of {}: {message}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let (_folder, path) = file("damaged.jpg", &damaged);
            let _ = read_all(&path, ReadOptions::default());
        }
    }
}

#[test]
fn folders_are_read_in_the_order_people_count() {
    let folder = folder();
    let gray = |value| png(1, 1, ::png::ColorType::Grayscale, ::png::BitDepth::Eight, &[], &[value]);
    for (name, value) in [("f10.png", 30), ("f9.PNG", 20), ("f1.png", 10), (".f0.png", 0)] {
        fs::write(folder.path().join(name), gray(value)).unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let (_, values) = read_all(folder.path(), ReadOptions::default()).unwrap();
    let reds: Vec<f32> = values[..3].iter().map(|value| ((value + 1.0) * 127.5).round()).collect();
    assert_eq!(reds, [10.0, 20.0, 30.0]);

    fs::write(
        folder.path().join("f11.png"),
        png(2, 1, ::png::ColorType::Grayscale, ::png::BitDepth::Eight, &[], &[1, 2]),
    )
    .unwrap();
    let message = complaint(folder.path());
    assert!(
        message.contains("f11.png") && message.contains("it is 2x1") && message.contains("`f1.png` is 1x1"),
        "{message}"
    );
    fs::write(folder.path().join("f11.png"), "").unwrap();
    let message = complaint(folder.path());
    assert!(message.contains("f11.png") && message.contains("it is empty"), "{message}");
}

#[test]
fn bad_pictures_are_refused() {
    let whole = png(3, 2, ::png::ColorType::Rgb, ::png::BitDepth::Eight, &[], &[9; 18]);
    for end in 1..whole.len() - 12 {
        let (_folder, path) = file("a.png", &whole[..end]);
        assert!(complaint(&path).contains("damaged or cut off"), "{end}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        let (_folder, path) = file("a.png", &damaged);
        let _ = read_all(&path, ReadOptions::default());
    }
    let empty = folder();
    assert!(complaint(empty.path()).contains("no PNG, JPEG or WebP in this folder"));
    fs::create_dir(empty.path().join("0")).unwrap();
    assert!(complaint(empty.path()).contains("give one of its subfolders"));
}

// ---- orientation

/// A chunk of a PNG.
fn png_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut checksum = u32::MAX;
    for byte in kind.iter().chain(content) {
        checksum ^= u32::from(*byte);
        for _ in 0..8 {
            checksum = if checksum & 1 == 1 { checksum >> 1 ^ 0xedb8_8320 } else { checksum >> 1 };
        }
    }
    [&(content.len() as u32).to_be_bytes()[..], kind, content, &(!checksum).to_be_bytes()].concat()
}

/// Where the chunk of this kind begins.
fn png_place(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).position(|four| four == kind).unwrap() - 4
}

/// A WebP without losses.
fn webp(width: u32, height: u32, colour: image_webp::ColorType, data: &[u8], exif: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = image_webp::WebPEncoder::new(&mut bytes);
    if !exif.is_empty() {
        encoder.set_exif_metadata(exif.to_vec());
    }
    encoder.encode(data, width, height, colour).unwrap();
    bytes
}

/// Six pixels, stored as abc / def.
const STORED: &[u8] = b"aaabbbcccdddeeefff";
/// What is shown of them by the number of the orientation, and its width.
const SHOWN: [(u16, &str, usize); 8] = [
    (1, "abcdef", 3),
    (2, "cbafed", 3),
    (3, "fedcba", 3),
    (4, "defabc", 3),
    (5, "adbecf", 2),
    (6, "daebfc", 2),
    (7, "fcebda", 2),
    (8, "cfbead", 2),
];

/// The letters of a picture and its width.
fn letters(path: &Path) -> (String, usize) {
    let (shape, _) = read_all(path, ReadOptions::default()).unwrap();
    (pixels(path).iter().step_by(3).map(|&letter| char::from(letter)).collect(), shape.width)
}

#[test]
fn pngs_and_webps_are_turned_upright() {
    let plain = png(3, 2, ::png::ColorType::Rgb, ::png::BitDepth::Eight, &[], STORED);
    for (number, shown, width) in SHOWN {
        for big_endian in [false, true] {
            let exif = orientation::tests::exif(number, big_endian);
            for before in [b"IDAT", b"IEND"] {
                let mut turned = plain.clone();
                let at = png_place(&plain, before);
                turned.splice(at..at, png_chunk(b"eXIf", &exif));
                let (_folder, path) = file("a.png", &turned);
                assert_eq!(letters(&path), (shown.into(), width), "PNG {number}, before {}", before.escape_ascii());
            }
            let marked = [b"Exif\0\0", &exif[..]].concat();
            for exif in [&exif, &marked] {
                let (_folder, path) = file("a.webp", &webp(3, 2, image_webp::ColorType::Rgb8, STORED, exif));
                assert_eq!(letters(&path), (shown.into(), width), "WebP {number}");
            }
        }
    }
}

/// A JPEG whose left half is red and right half blue, with these segments behind its first marker.
fn jpeg(segments: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = fs::read(format!("{DATA}halves.jpg")).unwrap();
    let segments: Vec<u8> = segments
        .iter()
        .flat_map(|(marker, content)| {
            [&[0xff, *marker][..], &(content.len() as u16 + 2).to_be_bytes(), content].concat()
        })
        .collect();
    bytes.splice(2..2, segments);
    bytes
}

/// Width, height, and at which edge the red half is.
fn halves(path: &Path) -> (usize, usize, &'static str) {
    let (shape, values) = read_all(path, ReadOptions::default()).unwrap();
    let (width, height) = (shape.width, shape.height);
    let is_red = |x: usize, y: usize| values[y * width + x] > 0.0;
    let edges = [is_red(0, 0), is_red(width - 1, 0), is_red(0, height - 1), is_red(width - 1, height - 1)];
    let edge = match edges {
        [true, false, true, false] => "left",
        [false, true, false, true] => "right",
        [true, true, false, false] => "top",
        [false, false, true, true] => "bottom",
        _ => "nowhere",
    };
    (width, height, edge)
}

#[test]
fn jpegs_are_turned_upright() {
    let edges = ["left", "right", "right", "left", "top", "top", "bottom", "bottom"];
    for (number, edge) in (1..).zip(edges) {
        for big_endian in [false, true] {
            let exif = [b"Exif\0\0", &orientation::tests::exif(number, big_endian)[..]].concat();
            let size = if number < 5 { (16, 8) } else { (8, 16) };
            // As telephones write it: other segments of the same marker before and behind, one of
            // which goes on with EXIF.
            let others: [&[(u8, &[u8])]; 3] = [
                &[(0xe1, &exif)],
                &[(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), (0xe1, &exif), (0xe2, b"MPF\0II*\0")],
                &[(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"), (0xe1, &exif), (0xe1, b"Exif\0\0going on")],
            ];
            for segments in others {
                let (_folder, path) = file("a.jpg", &jpeg(segments));
                assert_eq!(halves(&path), (size.0, size.1, edge), "{number}");
            }
        }
    }
}

#[test]
fn damaged_exif_is_passed_over() {
    let whole = [b"Exif\0\0", &orientation::tests::exif(6, true)[..]].concat();
    for exif in [&b"Exif\0\0"[..], b"Exif\0\0nonsense", &whole[..20], &[whole.as_slice(), &[0xff; 40]].concat()] {
        let (_folder, path) = file("a.jpg", &jpeg(&[(0xe1, exif)]));
        let (width, height, edge) = halves(&path);
        // What follows whole EXIF does not damage it.
        let expected = if exif.len() > whole.len() { (8, 16, "top") } else { (16, 8, "left") };
        assert_eq!((width, height, edge), expected);
    }
    // A WebP that announces EXIF and has none.
    let mut announced = webp(3, 2, image_webp::ColorType::Rgb8, STORED, &orientation::tests::exif(6, true));
    let at = announced.windows(4).position(|four| four == b"EXIF").unwrap();
    announced.truncate(at);
    let length = announced.len() as u32 - 8;
    announced[4..8].copy_from_slice(&length.to_le_bytes());
    let (_folder, path) = file("a.webp", &announced);
    assert_eq!(letters(&path), ("abcdef".into(), 3));
}

// ---- folders of what people have

#[test]
fn a_folder_has_pictures_of_every_kind_by_their_content() {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let upright = jpeg(&[]);
    // The same lying on its side: stored as 8 x 16, to be turned.
    let red_above_blue: Vec<u8> = [[200, 60, 40], [20, 90, 220]].map(|colour| colour.repeat(64)).concat();
    let lying = |exif: &[u8]| webp(8, 16, image_webp::ColorType::Rgb8, &red_above_blue, exif);
    write("1.jpg", &upright);
    write("2.png", &upright);
    write("3", &upright);
    write("4.webp", &lying(&orientation::tests::exif(8, true)));
    write("5.jpeg", &lying(&orientation::tests::exif(6, false)));
    write("6.dat", &upright);
    // What systems and people leave beside them.
    write("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
    write(".DS_Store", b"\0\0\0\x01Bud1");
    write("._1.jpg", b"\0\x05\x16\x07");
    write("desktop.ini", b"[.ShellClassInfo]");
    write("notes.txt", b"mine");
    write("empty", b"");
    fs::create_dir(folder.path().join("more.png")).unwrap();
    let (shape, values) = read_all(folder.path(), ReadOptions::default()).unwrap();
    assert_eq!((shape.frames, shape.width, shape.height), (Some(6), 16, 8));
    for (frame, red) in values[..6 * 128].chunks_exact(128).enumerate() {
        for row in red.chunks_exact(16) {
            // What is above is left where it is turned back, and right where it is turned on.
            let blue_first = frame == 4;
            assert!((row[0] > 0.0) != blue_first && (row[15] > 0.0) == blue_first, "{frame}: {row:?}");
        }
    }

    write("7.jpg", &lying(&[]));
    let message = complaint(folder.path());
    assert!(message.contains("7.jpg") && message.contains("it is 8x16"), "{message}");
    for (bytes, says) in [
        (&b"<!DOCTYPE html><title>Sign in</title>"[..], "it is an HTML page (`Sign in`)"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", "is no PNG, JPEG or WebP"),
        (b"", "it is empty"),
    ] {
        write("7.jpg", bytes);
        let message = complaint(folder.path());
        assert!(message.contains("7.jpg") && message.contains(says), "{message}");
    }
    write("7.jpg", &animated_png(&FRAMES, true));
    assert!(complaint(folder.path()).contains("an animation of several frames"));
}

#[test]
fn the_content_counts_and_not_the_name() {
    let folder = folder();
    let write_clip = |name: &str| {
        let path = folder.path().join(name);
        let shape = shape(1, 3, 5, 16, 16);
        write(&path, shape, &clip(shape));
        fs::read(path).unwrap()
    };
    let still = webp(3, 2, image_webp::ColorType::Rgb8, STORED, &[]);
    let clips = [
        ("y4m", write_clip("a.y4m")),
        ("gif", write_clip("a.gif")),
        ("mp4", write_clip("a.mp4")),
        ("npy", write_clip("a.npy")),
        ("safetensors", write_clip("a.safetensors")),
        ("jpg", jpeg(&[])),
        ("png", png(3, 2, ::png::ColorType::Rgb, ::png::BitDepth::Eight, &[], STORED)),
        ("webp", still),
    ];
    for (ending, bytes) in &clips {
        let right = folder.path().join(format!("right.{ending}"));
        fs::write(&right, bytes).unwrap();
        let expected = read_all(&right, ReadOptions::default()).unwrap();
        for (other, _) in &clips {
            for name in [format!("wrong.{other}"), "without".into(), "wrong.".into(), "wrong.mkv".into()] {
                let wrong = folder.path().join(name);
                fs::write(&wrong, bytes).unwrap();
                assert_eq!(read_all(&wrong, ReadOptions::default()).unwrap(), expected, "{ending} as {other}");
            }
        }
    }
}

#[test]
fn what_is_no_clip_is_called_what_it_is() {
    for (bytes, says) in [
        (&b"\n<html><head><title>Log in</title>"[..], "it is an HTML page (`Log in`)"),
        (b"{\"error\": \"Not found\"}", "`Not found`"),
        (b"[1, 2]", "it is JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"PK\x03\x04aaaaaaaaaaaaaaaaaa", "it is a zip archive"),
        (b"Entry not found", "text that begins `Entry not found`"),
        (b"%PDF-1.4 ...........", "a PDF document"),
    ] {
        for name in ["a.mp4", "a.gif", "a.png", "a.jpg", "a.webp", "a.npy", "a.safetensors", "a.y4m", "a.mkv", "a"] {
            let (_folder, path) = file(name, bytes);
            let message = complaint(&path);
            assert!(message.contains(says), "{name}: {message}");
        }
    }
}

// ---- animations

/// A frame of one colour: left, top, width, height, colour, whether it is painted over what is
/// there, disposal.
type PngFrame = (u32, u32, u32, u32, [u8; 4], bool, ::png::DisposeOp);

const RED: [u8; 4] = [255, 0, 0, 255];
const GREEN: [u8; 4] = [0, 255, 0, 255];
const FRAMES: [PngFrame; 5] = [
    (0, 0, 4, 1, RED, false, ::png::DisposeOp::None),
    // Half green over red, and then taken back.
    (1, 0, 2, 1, [0, 255, 0, 128], true, ::png::DisposeOp::Previous),
    (0, 0, 1, 1, GREEN, false, ::png::DisposeOp::Background),
    (3, 0, 1, 1, [9, 9, 9, 0], true, ::png::DisposeOp::None),
    (2, 0, 2, 1, [7, 8, 9, 0], false, ::png::DisposeOp::None),
];
/// The red and green of its four pixels, frame by frame.
const PAINTED: [[(u8, u8); 4]; 5] = [
    [(255, 0); 4],
    [(255, 0), (127, 128), (127, 128), (255, 0)],
    [(0, 255), (255, 0), (255, 0), (255, 0)],
    [(0, 0), (255, 0), (255, 0), (255, 0)],
    [(0, 0), (255, 0), (7, 8), (7, 8)],
];

/// An animated PNG of 4 x 1 pixels, an eighth of a second a frame. Its default picture is the first
/// frame, or none.
fn animated_png(frames: &[PngFrame], default_is_first: bool) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = ::png::Encoder::new(&mut bytes, 4, 1);
    encoder.set_color(::png::ColorType::Rgba);
    encoder.set_depth(::png::BitDepth::Eight);
    encoder.set_animated(frames.len() as u32, 0).unwrap();
    encoder.set_sep_def_img(!default_is_first).unwrap();
    encoder.set_frame_delay(1, 8).unwrap();
    let mut writer = encoder.write_header().unwrap();
    if !default_is_first {
        writer.write_image_data(&[1; 16]).unwrap();
    }
    for &(left, top, width, height, colour, over, dispose) in frames {
        writer.reset_frame_position().unwrap();
        writer.set_frame_dimension(width, height).unwrap();
        writer.set_frame_position(left, top).unwrap();
        writer.set_blend_op(if over { ::png::BlendOp::Over } else { ::png::BlendOp::Source }).unwrap();
        writer.set_dispose_op(dispose).unwrap();
        writer.write_image_data(&colour.repeat((width * height) as usize)).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// The red and green of every pixel of a clip of 4 x 1 pixels, frame by frame.
fn painted(values: &[f32]) -> Vec<[(u8, u8); 4]> {
    let plane = values.len() / 3;
    let pixel = |i: usize| ((values[i] + 1.0) * 127.5).round() as u8;
    (0..plane / 4).map(|t| std::array::from_fn(|x| (pixel(t * 4 + x), pixel(plane + t * 4 + x)))).collect()
}

#[test]
fn animated_pngs_are_read_frame_by_frame() {
    for default_is_first in [true, false] {
        let bytes = animated_png(&FRAMES, default_is_first);
        let (_folder, path) = file("a.png", &bytes);
        let (shape, values) = read_all(&path, ReadOptions::default()).unwrap();
        assert_eq!((shape.frames, shape.rate), (Some(5), FrameRate::new(8.0).ok()));
        assert_eq!(painted(&values), PAINTED);
        let two = ReadOptions { frames: Some(2), ..ReadOptions::default() };
        assert_eq!(painted(&read_all(&path, two).unwrap().1), PAINTED[..2]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let (_folder, path) = file("a.png", &damaged);
            let _ = read_all(&path, ReadOptions::default());
        }
    }
}

/// Truncates the file everywhere: it is refused, or read as a whole, and the whole frames before
/// the cut can be asked for.
fn cut_everywhere(name: &str, bytes: &[u8], may_be_whole: usize, expected: &[[(u8, u8); 4]]) {
    let mut most = 0;
    for end in 1..bytes.len() {
        let (_folder, path) = file(name, &bytes[..end]);
        match read_all(&path, ReadOptions::default()) {
            Ok((_, values)) => assert!(end >= may_be_whole && painted(&values) == expected, "{end}"),
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("damaged or cut off"), "{end}: {message}");
                let Error::BadClip { remedy: Some(Remedy::Frames(whole)), .. } = error else { continue };
                most = most.max(whole);
                let options = ReadOptions { frames: Some(whole), ..ReadOptions::default() };
                assert_eq!(painted(&read_all(&path, options).unwrap().1), expected[..whole], "{end}");
                let more = ReadOptions { frames: Some(whole + 1), ..ReadOptions::default() };
                assert!(complaint_with(&path, more).contains("cut off"), "{end}");
            }
        }
    }
    assert_eq!(most, 4);
}

#[test]
fn of_animations_that_are_cut_off_whole_frames_can_be_had() {
    let bytes = animated_png(&FRAMES, true);
    cut_everywhere("a.png", &bytes, bytes.len() - 12, &PAINTED);
    let bytes = animated_webp(&WEBP_FRAMES);
    cut_everywhere("a.webp", &bytes, bytes.len() - 1, &WEBP_PAINTED);
}

/// WebP takes no frame back, and has them at even places.
const WEBP_FRAMES: [PngFrame; 5] = [
    (0, 0, 4, 1, RED, false, ::png::DisposeOp::None),
    (2, 0, 2, 1, [0, 255, 0, 128], true, ::png::DisposeOp::None),
    (0, 0, 2, 1, GREEN, false, ::png::DisposeOp::Background),
    (2, 0, 1, 1, [9, 9, 9, 0], true, ::png::DisposeOp::None),
    (2, 0, 2, 1, [7, 8, 9, 0], false, ::png::DisposeOp::None),
];
const WEBP_PAINTED: [[(u8, u8); 4]; 5] = [
    [(255, 0); 4],
    [(255, 0), (255, 0), (127, 128), (127, 128)],
    [(0, 255), (0, 255), (127, 128), (127, 128)],
    [(0, 0), (0, 0), (127, 128), (127, 128)],
    [(0, 0), (0, 0), (7, 8), (7, 8)],
];

/// An animated WebP of 4 x 1 pixels, an eighth of a second a frame.
fn animated_webp(frames: &[PngFrame]) -> Vec<u8> {
    let triple = |value: u32| value.to_le_bytes()[..3].to_vec();
    let chunk = |kind: &[u8; 4], content: &[u8]| {
        let mut bytes = [kind, &(content.len() as u32).to_le_bytes()[..], content].concat();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    };
    let mut body =
        [b"WEBP", &chunk(b"VP8X", &[2 | 16, 0, 0, 0, 3, 0, 0, 0, 0, 0])[..], &chunk(b"ANIM", &[0; 6])].concat();
    for &(left, top, width, height, colour, over, dispose) in frames {
        let still = webp(width, height, image_webp::ColorType::Rgba8, &colour.repeat((width * height) as usize), &[]);
        let flags = u8::from(!over) << 1 | u8::from(dispose == ::png::DisposeOp::Background);
        let place = [left / 2, top / 2, width - 1, height - 1, 125].map(triple).concat();
        let at = still.windows(4).position(|four| four == b"VP8L").unwrap();
        body.extend(chunk(b"ANMF", &[&place[..], &[flags], &still[at..]].concat()));
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

#[test]
fn animated_webps_are_read_frame_by_frame() {
    use ::png::DisposeOp::{Background, None};
    let bytes = animated_webp(&WEBP_FRAMES);
    let (_folder, path) = file("a.webp", &bytes);
    let (shape, values) = read_all(&path, ReadOptions::default()).unwrap();
    assert_eq!((shape.frames, shape.rate), (Some(5), FrameRate::new(8.0).ok()));
    assert_eq!(painted(&values), WEBP_PAINTED);
    // Another size of the canvas is no damage that could be seen, and takes long.
    for at in (0..bytes.len()).filter(|at| !(24..30).contains(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let (_folder, path) = file("a.webp", &damaged);
        let _ = read_all(&path, ReadOptions::default());
    }
    // A part that is cleared while what follows is elsewhere.
    let (_folder, path) = file(
        "a.webp",
        &animated_webp(&[
            (0, 0, 4, 1, RED, false, None),
            (0, 0, 2, 1, GREEN, true, Background),
            (2, 0, 2, 1, GREEN, true, None),
        ]),
    );
    let (_, values) = read_all(&path, ReadOptions::default()).unwrap();
    assert_eq!(painted(&values)[2], [(0, 0), (0, 0), (0, 255), (0, 255)]);
}

#[test]
fn still_webps_are_read() {
    use image_webp::ColorType;
    for (colour, data) in
        [(ColorType::Rgb8, &b"\x01\x02\x03\x04\x05\x06"[..]), (ColorType::Rgba8, b"\x01\x02\x03\x80\x04\x05\x06\xff")]
    {
        let bytes = webp(2, 1, colour, data, &[]);
        let (_folder, path) = file("a.webp", &bytes);
        assert_eq!(pixels(&path), [1, 2, 3, 4, 5, 6]);
        for end in 1..bytes.len() - 1 {
            let (_folder, path) = file("a.webp", &bytes[..end]);
            assert!(complaint(&path).contains("damaged or cut off"), "{end}");
        }
    }
}
