//! Arrays of every kind of number, order of axes and range, and every way to be refused.

use super::*;

fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn npy_of_pixels_is_read() {
    let (_folder, path) =
        file("a.npy", &npy("|u1", "False", "2, 1, 2, 3", &[0, 51, 255, 0, 51, 255, 255, 0, 51, 255, 0, 51]));
    let (found, values) = read_all(&path, ReadOptions::default()).unwrap();
    assert_eq!((found.channels, found.frames, found.height, found.width), (3, Some(2), 1, 2));
    assert_eq!(values, [-1.0, -1.0, 1.0, 1.0, -0.6, -0.6, -1.0, -1.0, 1.0, 1.0, -0.6, -0.6]);
}

#[test]
fn bad_npy_is_refused() {
    let message = |descr: &str, order: &str, shape: &str, length: usize| {
        let (_folder, path) = file("a.npy", &npy(descr, order, shape, &vec![0; length]));
        complaint(&path)
    };
    assert!(message("|u1", "False", "2, 1, 2, 3", 11).contains("cut off or damaged"));
    assert!(message("|u1", "False", "2, 1, 2, 3", 13).contains("cut off or damaged"));
    assert!(
        message("|u1", "False", "2, 1, 2, 4", 16).contains("an array of U8 [2, 1, 2, 4]; no axis has three channels")
    );
    assert!(
        message("<f4", "False", "9, 32, 48, 4", 9 * 32 * 48 * 16).contains("expected [B, C, T, H, W], [B, T, H, W, C]")
    );
    for descr in ["<i8", "<u2", "|b1", "<c8", "|O"] {
        let bytes = 3 * if descr == "|b1" { 1 } else { descr[2..].parse().unwrap_or(8) };
        assert!(message(descr, "False", "1, 3, 1, 1, 1", bytes).contains(&format!("an array of {descr}")));
    }
    assert!(message("<f4", "False", "3, 1", 12).contains("an array of F32 [3, 1]"));
    assert!(message("<f4", "False", "1, 3, 0, 1, 1", 0).contains("it has no frames"));
    assert!(message("<f4", "False", "9999999999, 9999999999, 9999999999, 1, 1", 0).contains("cut off or damaged"));
    let (_folder, path) = file("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff");
    assert!(complaint(&path).contains("4294967295 bytes long"));
    let (_folder, path) = file("a.npy", b"\x93NUMPY\x01\x00\x80");
    assert!(complaint(&path).contains("cut off in its header"));
    let (_folder, path) = file("a.npy", b"PK\x03\x04........");
    assert!(complaint(&path).contains("it is a zip archive"));
}

#[test]
fn values_that_are_no_clip_are_refused() {
    let with = |values: [f32; 4]| {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (_folder, path) = file("a.npy", &npy("<f4", "False", "1, 1, 2, 1, 2", &data));
        complaint(&path)
    };
    for (value, says) in [(f32::NAN, "is NaN"), (f32::INFINITY, "is inf"), (255.0, "is 255; far from [-1, 1]")] {
        for first in [-1.0, 0.0] {
            let message = with([first, 1.0, 0.5, value]);
            let at = "at [0, 0, 1, 0, 1] of [B, C, T, H, W]";
            // Without a negative value it is told before anything is read.
            let expected = if value == 255.0 && first == 0.0 { ["from 0 to 255", "; say which"] } else { [says, at] };
            assert!(expected.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}

fn safetensors(tensors: &[(&str, ::safetensors::Dtype, &[usize])]) -> Vec<u8> {
    let data = [0; 256];
    let views = tensors.iter().map(|(name, dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (*name, ::safetensors::tensor::TensorView::new(*dtype, shape.to_vec(), &data[..bytes]).unwrap())
    });
    ::safetensors::serialize(views, None).unwrap()
}

#[test]
fn the_tensor_of_a_clip_is_found_or_asked_for() {
    use ::safetensors::Dtype::{BF16, F16, F32, I64};
    let clip = |name, dtype| (name, dtype, &[1, 3, 1, 2, 2][..]);
    for tensors in
        [&[clip("x", F16)][..], &[clip("video", BF16), clip("x", F32)], &[clip("a", F32), clip("sample", F32)]]
    {
        let (_folder, path) = file("a.safetensors", &safetensors(tensors));
        let options = ReadOptions { range: Some(ValueRange::Signed), ..ReadOptions::default() };
        assert_eq!(read_all(&path, options).unwrap().1, [0.0; 12]);
    }
    let message = |tensors: &[(&str, ::safetensors::Dtype, &[usize])]| {
        let (_folder, path) = file("a.safetensors", &safetensors(tensors));
        complaint(&path)
    };
    let two = message(&[clip("a", F32), clip("b", F32)]);
    assert!(two.contains("no tensor `sample` or `video`; the file has `a` F32 [1, 3, 1, 2, 2]"), "{two}");
    assert!(message(&[clip("a", I64)]).contains("is I64, expected"));
    assert!(message(&[("a", F32, &[4, 1, 2, 2])]).contains("no axis has three channels"));
    assert!(message(&[("a", F32, &[1, 3, 0, 2, 2])]).contains("it has no frames"));
    let (_folder, path) = file("a.safetensors", &safetensors(&[clip("a", F32)])[..90]);
    assert!(complaint(&path).contains("cut off"));
}

// ---- axes, ranges and kinds of numbers

/// The bytes of numbers of this kind, as NumPy names it.
fn numbers(descr: &str, values: &[f32]) -> Vec<u8> {
    let one = |&value: &f32| match descr {
        "<f2" => half::f16::from_f32(value).to_le_bytes().to_vec(),
        ">f2" => half::f16::from_f32(value).to_be_bytes().to_vec(),
        "<f4" => value.to_le_bytes().to_vec(),
        ">f4" => value.to_be_bytes().to_vec(),
        "<f8" => f64::from(value).to_le_bytes().to_vec(),
        ">f8" => f64::from(value).to_be_bytes().to_vec(),
        "|u1" => vec![value as u8],
        other => panic!("{other}"),
    };
    values.iter().flat_map(one).collect()
}

/// The sizes of a clip by their letters.
const SIZES: [(char, usize); 5] = [('B', 2), ('C', 3), ('T', 4), ('H', 8), ('W', 10)];

/// An array of these axes, whose value at b, c, t, h, w is `value` of its place in [B, C, T, H, W].
fn arranged(axes: &str, fortran: bool, value: impl Fn(usize) -> f32) -> (String, Vec<f32>) {
    let size = |letter: char| SIZES.iter().find(|(known, _)| *known == letter).unwrap().1;
    let shape: Vec<usize> = axes.chars().map(size).collect();
    let mut order: Vec<usize> = (0..shape.len()).collect();
    if fortran {
        order.reverse();
    }
    let count: usize = shape.iter().product();
    let values = (0..count).map(|place| {
        let mut index = vec![0; shape.len()];
        let mut rest = place;
        for &axis in order.iter().rev() {
            index[axis] = rest % shape[axis];
            rest /= shape[axis];
        }
        let place = SIZES
            .iter()
            .fold(0, |place, &(letter, size)| place * size + axes.find(letter).map_or(0, |axis| index[axis]));
        value(place)
    });
    let text: Vec<String> = shape.iter().map(ToString::to_string).collect();
    (text.join(", "), values.collect())
}

/// How many of the sizes an array of these axes has.
fn expected_shape(axes: &str) -> [usize; 5] {
    SIZES.map(|(letter, size)| if axes.contains(letter) { size } else { 1 })
}

#[test]
fn arrays_of_every_order_kind_and_range_are_one_clip() {
    // A multiple of a quarter, which every kind of number has.
    let quarter = |place: usize| ((place * 7 + place / 80) % 5) as f32 / 4.0;
    for axes in ["BCTHW", "BTCHW", "BTHWC", "CTHW", "TCHW", "THWC", "CHW", "HWC"] {
        for (descr, fortran) in [
            ("<f4", false),
            (">f4", false),
            ("<f2", false),
            (">f2", true),
            ("<f8", true),
            (">f8", false),
            ("<f4", true),
            ("|u1", false),
            ("|u1", true),
        ] {
            let pixels = descr == "|u1";
            let stored = |place| if pixels { quarter(place) * 252.0 } else { 2.0 * quarter(place) - 1.0 };
            let (shape, values) = arranged(axes, fortran, stored);
            let order = if fortran { "True" } else { "False" };
            let (_folder, path) = file("a.npy", &npy(descr, order, &shape, &numbers(descr, &values)));
            let (found, values) = read_all(&path, ReadOptions::default()).unwrap();
            let expected = expected_shape(axes);
            assert_eq!([found.batch, found.channels, found.frames.unwrap(), found.height, found.width], expected);
            let [batch, channels, frames, height, width] = expected;
            let mut at = 0;
            for b in 0..batch {
                for c in 0..channels {
                    for t in 0..frames {
                        for h in 0..height {
                            for w in 0..width {
                                let place = (((b * 3 + c) * 4 + t) * 8 + h) * 10 + w;
                                let value = match pixels {
                                    true => 2.0 * (stored(place) / 255.0) - 1.0,
                                    false => stored(place),
                                };
                                assert_eq!(values[at], value, "{axes} {descr} {fortran} {:?}", (b, c, t, h, w));
                                at += 1;
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn floats_from_0_to_1_are_recognised_or_asked_about() {
    let quarter = |place: usize| ((place * 7 + place / 80) % 5) as f32 / 4.0;
    let at = |axes: &str, scale: f32| {
        let (shape, values) = arranged(axes, false, |place| quarter(place) * scale);
        npy("<f4", "False", &shape, &numbers("<f4", &values))
    };
    let note =
        |path: &Path, options| open(path, options).unwrap().note().map(|note| note.text.clone()).unwrap_or_default();
    let signed = |axes: &str| {
        let (shape, values) = arranged(axes, false, |place| 2.0 * quarter(place) - 1.0);
        let (_folder, path) = file("a.npy", &npy("<f4", "False", &shape, &numbers("<f4", &values)));
        read_all(&path, ReadOptions::default()).unwrap().1
    };
    // What ComfyUI and diffusers write.
    for axes in ["BTHWC", "THWC", "HWC", "BTCHW", "TCHW", "CHW"] {
        let (_folder, path) = file("comfy.npy", &at(axes, 1.0));
        assert_eq!(read_all(&path, ReadOptions::default()).unwrap().1, signed(axes), "{axes}");
        assert!(note(&path, ReadOptions::default()).contains("] in [0, 1]"));
    }
    // What the model takes, but not in the range that it takes.
    for axes in ["BCTHW", "CTHW"] {
        let (_folder, path) = file("bcthw01.npy", &at(axes, 1.0));
        let message = complaint(&path);
        assert!(message.contains("from 0 to 1: a clip [") && message.ends_with("; say which"), "{message}");
        let unit = ReadOptions { range: Some(ValueRange::Unit), ..ReadOptions::default() };
        assert_eq!(read_all(&path, unit).unwrap().1, signed(axes));
        let as_they_are = ReadOptions { range: Some(ValueRange::Signed), ..ReadOptions::default() };
        let values = read_all(&path, as_they_are).unwrap().1;
        assert!(values.iter().all(|value| (0.0..=1.0).contains(value)) && values.contains(&1.0));
    }
    // Pixels as floats.
    for axes in ["BCTHW", "BTHWC"] {
        let (_folder, path) = file("a.npy", &at(axes, 255.0));
        assert!(complaint(&path).contains("from 0 to 255, which is neither [-1, 1] nor [0, 1]; say which"));
        let pixels = ReadOptions { range: Some(ValueRange::Pixels), ..ReadOptions::default() };
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(read_all(&path, pixels).unwrap().1.iter().zip(&signed(axes)).all(near));
    }
}

#[test]
fn guesses_of_axes_are_told_and_can_be_overruled() {
    let values: Vec<f32> = (0..3 * 3 * 64).map(|i| (i % 9) as f32 / 4.0 - 1.0).collect();
    let (_folder, path) = file("a.npy", &npy("<f4", "False", "1, 3, 3, 8, 8", &numbers("<f4", &values)));
    let note = open(&path, ReadOptions::default()).unwrap().note().unwrap().clone();
    let expected = "F32 [1, 3, 3, 8, 8] is read as [B, C, T, H, W] in [-1, 1]; [B, T, C, H, W] fits too";
    assert!(note.text.ends_with(expected), "{}", note.text);
    assert_eq!(note.other_axes, ["BTCHW".parse().unwrap()]);
    let other = ReadOptions { axes: "BTCHW".parse().ok(), ..ReadOptions::default() };
    let swapped = read_all(&path, other).unwrap().1;
    assert_eq!((&swapped[..64], &swapped[64..128]), (&values[..64], &values[3 * 64..4 * 64]));
    assert_eq!(open(&path, other).unwrap().note().map(|note| note.other_axes.len()), Some(0));
    let wrong = ReadOptions { axes: "THWC".parse().ok(), ..ReadOptions::default() };
    assert!(complaint_with(&path, wrong).contains("it was said to be [T, H, W, C]"));
    // An array that is as this program writes it is not worth a word.
    let (_folder, path) = file("a.npy", &npy("<f4", "False", "1, 3, 2, 8, 8", &numbers("<f4", &values[..384])));
    assert_eq!(open(&path, ReadOptions::default()).unwrap().note(), None);
    let (_folder, path) = file("a.y4m", b"YUV4MPEG2 W2 H2 Cmono\nFRAME\nabcd");
    assert!(complaint_with(&path, other).contains("axes and range are of the numbers"));
}

#[test]
fn what_this_program_wrote_is_read_without_a_question() {
    let folder = folder();
    let path = folder.path().join("bright.safetensors");
    let shape = shape(1, 3, 3, 8, 8);
    write(&path, shape, &[0.75; 3 * 3 * 64]);
    assert_eq!(read_all(&path, ReadOptions::default()).unwrap().1, [0.75; 3 * 3 * 64]);
}
