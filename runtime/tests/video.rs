//! A video in, latents out, and back, through the command line and the tiny model.

mod common;

use std::fs;
use std::path::Path;

use common::{model, printed, random, tessera, text};
use serde_json::{Value, json};
use tempfile::TempDir;
use tessera::tensor_file::TensorFile;

fn report(arguments: &[&str], folder: &Path) -> Value {
    serde_json::from_str(&printed(&[arguments, &["--json"]].concat(), folder)).unwrap()
}

/// Writes a clip of pixels [T, H, W, 3] that look random, as `.npy`.
fn clip(path: &Path, frames: usize, height: usize, width: usize) {
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({frames}, {height}, {width}, 3), }}");
    header.extend(std::iter::repeat_n(' ', 117 - header.len()));
    header.push('\n');
    let mut bytes = [b"\x93NUMPY\x01\x00", &118_u16.to_le_bytes()[..], header.as_bytes()].concat();
    bytes.extend(random(9, frames * height * width * 3).iter().map(|value| (value * 127.0 + 128.0) as u8));
    fs::write(path, bytes).unwrap();
}

/// A folder with the tiny model, whose compression is 2 in time and in space, and a clip of nine
/// frames of 12x16.
fn workplace() -> TempDir {
    let folder = model(|_| {});
    clip(&folder.path().join("clip.npy"), 9, 12, 16);
    folder
}

const ENCODE: [&str; 5] = ["encode", "--model", ".", "--video", "clip.npy"];

fn encode(more: &[&str], folder: &Path) -> Value {
    report(&[&ENCODE, more].concat(), folder)
}

fn tensor(folder: &Path, file: &str, name: &str) -> (Vec<usize>, Vec<f32>) {
    let file = TensorFile::open(&folder.join(file), "written by the test").unwrap();
    assert_eq!(file.names(), [name]);
    (file.tensor(name).unwrap().shape.to_vec(), file.to_f32(name).unwrap())
}

#[test]
fn the_kinds_of_latents_agree() {
    let folder = workplace();
    let path = folder.path();
    let told = encode(&[], path);
    assert_eq!((&told["output"], &told["shape"]), (&json!("latents.safetensors"), &json!([1, 5, 4, 6, 8])));
    assert_eq!([&told["frames"], &told["height"], &told["width"]], [&json!(9), &json!(12), &json!(16)]);
    assert_eq!((&told["tiles"], &told["tiling"]["tile"]), (&json!(1), &Value::Null));
    encode(&["--unscaled", "-o", "u.safetensors"], path);
    encode(&["--moments", "-o", "m.safetensors"], path);

    let (shape, moments) = tensor(path, "m.safetensors", "parameters");
    assert_eq!(shape, [1, 8, 5, 6, 8]);
    let (shape, unscaled) = tensor(path, "u.safetensors", "latents");
    assert_eq!(shape, [1, 4, 5, 6, 8]);
    assert_eq!(unscaled, moments[..moments.len() / 2]);
    let (shape, scaled) = tensor(path, "latents.safetensors", "latents");
    assert_eq!(shape, [1, 5, 4, 6, 8]);
    for (i, value) in scaled.iter().enumerate() {
        let (t, c, at) = (i / (4 * 48), i / 48 % 4, i % 48);
        assert_eq!(*value, 0.5 * unscaled[(c * 5 + t) * 48 + at], "{i}");
    }
}

#[test]
fn decode_reads_back_what_encode_wrote_without_being_told() {
    let folder = workplace();
    let path = folder.path();
    encode(&[], path);
    encode(&["--unscaled", "-o", "u.safetensors"], path);
    let decode = |latents: &str, output: &str| {
        report(&["decode", "--model", ".", "--latents", latents, "--output", output], path);
        fs::read(path.join(output)).unwrap()
    };
    assert_eq!(decode("latents.safetensors", "a.npy"), decode("u.safetensors", "b.npy"));
    // Of moments the mean is decoded, which is said.
    encode(&["--moments", "-o", "m.safetensors"], path);
    let output = tessera(&["decode", "--model", ".", "--latents", "m.safetensors", "--output", "c.npy"], path);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("mean and log-variance: the mean is decoded"), "{}", text(&output.stderr));
    assert_eq!(fs::read(path.join("b.npy")).unwrap(), fs::read(path.join("c.npy")).unwrap());
    let arguments = ["decode", "--model", ".", "--latents", "latents.safetensors", "--unscaled"];
    let output = tessera(&arguments, path);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("says that they are scaled"), "{}", text(&output.stderr));
}

#[test]
fn a_draw_is_the_same_for_the_same_seed() {
    let folder = workplace();
    let path = folder.path();
    let drawn = |more: &[&str]| {
        encode(&[more, &["--sample", "--unscaled", "-o", "s.safetensors"]].concat(), path);
        tensor(path, "s.safetensors", "latents").1
    };
    let first = drawn(&["--seed", "3"]);
    assert_eq!(first, drawn(&["--seed", "3", "--threads", "1"]));
    assert_ne!(first, drawn(&[]));
    encode(&["--unscaled", "-o", "u.safetensors"], path);
    let (_, mean) = tensor(path, "u.safetensors", "latents");
    assert!(first.iter().zip(&mean).all(|(a, b)| a.is_finite() && a != b));
}

#[test]
fn a_roundtrip_tells_and_shows_what_is_lost() {
    let folder = workplace();
    let path = folder.path();
    let told = report(&["roundtrip", "--model", ".", "--video", "clip.npy", "--output", "both.y4m"], path);
    assert_eq!((&told["output"], &told["contact_sheet"]), (&json!("both.y4m"), &json!("both.png")));
    let frames = told["frame_quality"].as_array().unwrap();
    assert_eq!(frames.len(), 9);
    for (i, frame) in frames.iter().enumerate() {
        assert_eq!((&frame["sample"], &frame["frame"]), (&json!(0), &json!(i)));
        assert!(frame["psnr_db"].as_f64().unwrap() > 3.0 && frame["ssim"].as_f64().unwrap() < 1.0, "{frame}");
    }
    let mean = frames.iter().map(|frame| frame["psnr_db"].as_f64().unwrap()).sum::<f64>() / 9.0;
    assert!((told["psnr_db"].as_f64().unwrap() - mean).abs() < 1e-9);
    for half in ["encode", "decode"] {
        assert_eq!(told[half]["frames"], 9);
        assert!(told[half]["program_runs"].as_u64().unwrap() > 0);
    }
    let header = fs::read(path.join("both.y4m")).unwrap();
    assert!(header.starts_with(b"YUV4MPEG2 W40 H12 "), "{}", String::from_utf8_lossy(&header[..40]));
    assert!(fs::metadata(path.join("both.png")).unwrap().len() > 100);

    let summary = printed(&["roundtrip", "--model", ".", "--video", "clip.npy", "--output", "frames/"], path);
    for part in ["PSNR dB", "quality", "whole frames", "contact sheet", "frames.png ("] {
        assert!(summary.contains(part), "`{part}` is not in\n{summary}");
    }
    let summary = printed(&["roundtrip", "--model", ".", "--video", "clip.npy", "--output", "both.y4m"], path);
    assert!(summary.contains("8 frames a second: the video tells none; --fps asks for others"), "{summary}");
}

#[test]
fn what_does_not_come_back_is_left_out_and_said() {
    let folder = workplace();
    let path = folder.path();
    clip(&path.join("odd.npy"), 10, 13, 17);
    let arguments = ["roundtrip", "--model", ".", "--video", "odd.npy", "--output", "x.npy", "--json"];
    let output = tessera(&arguments, path);
    let note = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{note}");
    assert!(note.contains("brought from 13x17 to 12x16"), "{note}");
    assert!(note.contains("10 frames do not come back from their latents as 10: the first 9 are taken"), "{note}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!([&told["decode"]["height"], &told["decode"]["width"]], [&json!(12), &json!(16)]);
    assert_eq!(told["given"], json!({"frames": 10, "height": 13, "width": 17}));
    assert_eq!(told["comes_back"], json!({"frames": 9, "height": 12, "width": 16}));
    assert_eq!(text(&tessera(&[&arguments[..], &["--quiet"]].concat(), path).stderr), "");
}

#[test]
fn what_encoding_leaves_out_is_said() {
    let folder = workplace();
    let path = folder.path();
    clip(&path.join("odd.npy"), 2, 13, 17);
    let arguments = ["encode", "--model", ".", "--video", "odd.npy", "--json"];
    let output = tessera(&arguments, path);
    let note = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{note}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    for part in [
        "note: frames of 17x13 (width x height) are no multiples of 2: without the last column and the last row they \
         are 16x12",
        "note: 2 frames come back from the latents as 1",
    ] {
        assert!(note.contains(part), "{note}");
    }
    assert_eq!(told["comes_back"], json!({"frames": 1, "height": 12, "width": 16}));
    let whole = tessera(&["encode", "--model", ".", "--video", "clip.npy", "--json"], path);
    assert!(!text(&whole.stderr).contains("note: "), "{}", text(&whole.stderr));
    let told: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(told["comes_back"], json!({"frames": 9, "height": 12, "width": 16}));

    clip(&path.join("tiny.npy"), 5, 1, 17);
    for command in ["encode", "roundtrip"] {
        let expected = "its frames are 17x1 (width x height); the model needs at least 2x2 pixels";
        refused(path, &[command, "--model", ".", "--video", "tiny.npy"], 1, expected);
    }
}

#[test]
fn arrays_are_what_they_are_said_to_be() {
    let folder = workplace();
    let path = folder.path();
    // Pixels of nine frames of 12x16, as floats in [0, 1] with channels last, as ComfyUI and
    // diffusers write them.
    let pixels = fs::read(path.join("clip.npy")).unwrap()[128..].to_vec();
    let write = |name: &str, shape: &str, values: Vec<f32>| {
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
        header.extend(std::iter::repeat_n(' ', 117 - header.len()));
        header.push('\n');
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(
            path.join(name),
            [b"\x93NUMPY\x01\x00", &118_u16.to_le_bytes()[..], header.as_bytes(), &values].concat(),
        )
        .unwrap();
    };
    let unit: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let plane = 9 * 12 * 16;
    let channel_first = (0..3 * plane).map(|at| unit[at % plane * 3 + at / plane]).collect();
    write("comfy.npy", "9, 12, 16, 3", unit);
    write("bcthw01.npy", "1, 3, 9, 12, 16", channel_first);
    encode(&[], path);
    let expected = tensor(path, "latents.safetensors", "latents").1;
    let near = |more: &[&str]| {
        let arguments = [&["encode", "--model", ".", "-o", "other.safetensors", "--video"], more].concat();
        let output = tessera(&arguments, path);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let found = tensor(path, "other.safetensors", "latents").1;
        assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-4), "{more:?}");
        text(&output.stderr).to_owned()
    };
    let note = near(&["comfy.npy"]);
    assert!(note.contains("note: comfy.npy: F32 [9, 12, 16, 3] is read as [T, H, W, C] in [0, 1]"), "{note}");
    near(&["comfy.npy", "--axes", "thwc", "--range", "0,1"]);
    near(&["bcthw01.npy", "--range", "0,1"]);
    let say = "looks as if it lay in [0, 1]; say which with --range -1,1";
    refused(path, &["encode", "--model", ".", "--video", "bcthw01.npy"], 1, say);
    refused(path, &["encode", "--model", ".", "--video", "bcthw01.npy", "--range", "1"], 2, "known are -1,1 and 0,1");
    refused(path, &["encode", "--model", ".", "--video", "bcthw01.npy", "--axes", "ABC"], 2, "known are BCTHW");
    let args = ["encode", "--model", ".", "--video", "bcthw01.npy", "--range", "-1,1", "-o", "asis.safetensors"];
    assert_eq!(tessera(&args, path).status.code(), Some(0));
}

#[test]
fn tiles_are_told() {
    let folder = workplace();
    let path = folder.path();
    clip(&path.join("wide.npy"), 5, 24, 40);
    let arguments =
        ["encode", "--model", ".", "--video", "wide.npy", "--tiling", "16x16", "--tile-overlap", "0.25,0.25"];
    let told = report(&arguments, path);
    assert_eq!((&told["tiling"]["tile"], &told["tiling"]["overlap"]), (&json!([16, 16]), &json!([0.25, 0.25])));
    let tiles = told["tiling"]["rows"].as_u64().unwrap() * told["tiling"]["columns"].as_u64().unwrap();
    assert_eq!(told["tiles"], tiles);
    assert!(tiles > 1 && told["program_runs"] == tiles, "{told}");
    let output = tessera(&[&ENCODE[..], &["--memory-budget", "1MiB"]].concat(), path);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("memory budget"), "{}", text(&output.stderr));
    assert!(!path.join("nowhere").exists());
}

/// Runs a command that must fail with this code and leave the folder as it was.
fn refused(folder: &Path, arguments: &[&str], code: i32, expected: &str) {
    let entries = || {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = entries();
    let output = tessera(arguments, folder);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?}: `{expected}` is not in {stderr}");
    assert!(code == 2 || stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    assert!(output.stdout.is_empty());
    assert_eq!(entries(), before, "{arguments:?}");
}

#[test]
fn bad_input_is_one_error_and_no_output() {
    let folder = workplace();
    let path = folder.path();
    fs::write(path.join("broken.npy"), "no array").unwrap();
    fs::write(path.join("clip.txt"), "no clip").unwrap();
    let encode =
        |more: &[&str], code, expected| refused(path, &[&["encode", "--model", "."], more].concat(), code, expected);
    encode(&["--video", "nowhere.mp4"], 1, "nowhere.mp4: no such file");
    encode(&["--video", "broken.npy"], 1, "broken.npy: ");
    encode(&["--video", "clip.npy", "--frames", "10"], 1, "10 frames were asked for, the clip has 9");
    encode(&["--video", "clip.npy", "-o", "latents.npy"], 1, "`.npy` is not an output format; known: .safetensors");
    encode(&["--video", "clip.npy", "-o", "nowhere/x.safetensors"], 1, "there is no folder `nowhere`");
    encode(&["--video", "clip.npy", "--config", "nowhere.json"], 1, "nowhere.json: no such file");
    encode(&[], 2, "--video");
    encode(&["--video", "clip.npy", "--size", "480"], 2, "expected HEIGHTxWIDTH");
    encode(&["--video", "clip.npy", "--seed", "3"], 2, "--sample");
    encode(&["--video", "clip.npy", "--moments", "--sample"], 2, "cannot be used with");
    encode(&["--video", "clip.npy", "--tiling", "some"], 2, "or `auto`, `off` or `default`");
    encode(&["--video", "clip.npy", "--tile-overlap", "1"], 2, "two shares");
    encode(&["--video", "clip.npy", "--memory-budget", "8"], 2, "such as 8GiB");
    let roundtrip = |more: &[&str], expected| {
        refused(path, &[&["roundtrip", "--model", ".", "--video", "clip.npy"], more].concat(), 1, expected);
    };
    roundtrip(&["--size", "11x16"], "ask for 10x16");
    roundtrip(&["--output", "x.webm"], "`.webm` is not an output format");
    fs::create_dir(path.join("x.png")).unwrap();
    roundtrip(&["--output", "x.mp4"], "x.png: there is a folder of this name");
}

#[test]
fn shells_are_taught() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, part) in [("bash", "_tessera()"), ("zsh", "#compdef tessera"), ("fish", "complete -c tessera")] {
        let script = printed(&["completions", shell], folder.path());
        assert!(script.contains(part) && script.contains("roundtrip") && script.contains("tile-overlap"), "{shell}");
    }
}
