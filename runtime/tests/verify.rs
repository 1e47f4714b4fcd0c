//! `tessera verify` and `tessera taps` over the golden cases that have every module's output: what
//! passes, what a planted error looks like, and files of activations that are read back.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{printed, tessera, text};
use needs::Need;
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

const DECODE: &str = "decode-3-frames-taps";
const ENCODE: &str = "encode-9-frames-taps";

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/two-level");
    folder.join(name).to_string_lossy().into_owned()
}

fn case(name: &str) -> String {
    golden(&format!("cases/{name}.safetensors"))
}

/// The golden model with one weight of one parameter changed by half the largest.
fn planted(parameter: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden("config.json"), folder.path().join("config.json")).unwrap();
    let weights = "diffusion_pytorch_model.safetensors";
    let mut bytes = fs::read(golden(weights)).unwrap();
    let values = SafeTensors::deserialize(&bytes).unwrap().tensor(parameter).unwrap().data().as_ptr_range();
    let (start, end) = (values.start as usize - bytes.as_ptr() as usize, values.end as usize - bytes.as_ptr() as usize);
    let (values, _) = bytes[start..end].as_chunks_mut::<4>();
    let largest = values.iter().map(|value| f32::from_le_bytes(*value).abs()).fold(0.0, f32::max);
    let middle = &mut values[(end - start) / 8];
    *middle = (f32::from_le_bytes(*middle) + largest / 2.0).to_le_bytes();
    fs::write(folder.path().join(weights), bytes).unwrap();
    folder
}

/// What `tessera verify --json` says of a model, and its exit code.
fn verify(model: &Path, case_name: &str, more: &[&str]) -> (Value, Option<i32>) {
    let (model, against) = (model.to_string_lossy(), case(case_name));
    let run =
        tessera(&[&["verify", "--model", &model, "--against", &against, "--json"], more].concat(), Path::new("."));
    let json = text(&run.stdout);
    let json = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}{}", text(&run.stderr)));
    (json, run.status.code())
}

fn levels(report: &Value) -> Vec<&str> {
    report["rows"].as_array().unwrap().iter().map(|row| row["level"].as_str().unwrap()).collect()
}

#[test]
fn every_module_of_the_goldens_is_excellent() {
    for (name, first, modules) in [(DECODE, "decoder.conv_in", 76), (ENCODE, "encoder.conv_in", 27)] {
        for backend in ["cpu", "interpret"] {
            let (report, code) = verify(Path::new(&golden("")), name, &["--backend", backend]);
            assert_eq!((code, &report["first_jump"], &report["passed"]), (Some(0), &Value::Null, &Value::Bool(true)));
            let rows = report["rows"].as_array().unwrap();
            assert_eq!((rows.len(), rows[0]["module"].as_str()), (modules + 1, Some(first)));
            assert_eq!(rows[modules]["module"], "output");
            assert!(levels(&report).iter().all(|level| ["perfect", "excellent"].contains(level)), "{report}");
            assert_eq!(report["missing"].as_array().map(Vec::len), Some(0));
        }
    }
}

#[test]
fn a_planted_error_is_named() {
    let convolutions = [
        (DECODE, "decoder.conv_in.conv"),
        (DECODE, "decoder.mid_block.resnets.1.conv2.conv"),
        (DECODE, "decoder.up_blocks.0.resnets.0.norm1.conv_y.conv"),
        (DECODE, "decoder.up_blocks.1.resnets.1.conv1.conv"),
        (DECODE, "decoder.conv_out.conv"),
        (ENCODE, "encoder.down_blocks.1.resnets.0.conv1.conv"),
    ];
    for (name, convolution) in convolutions {
        let model = planted(&format!("{convolution}.weight"));
        let (report, code) = verify(model.path(), name, &[]);
        let module = convolution.strip_suffix(".conv").unwrap();
        assert_eq!((report["first_jump"].as_str(), code), (Some(module), Some(1)), "{report}");
    }
    // Convolutions whose output the reference's file does not have are found in the smallest module
    // that it has.
    for (name, convolution, module) in [
        (DECODE, "decoder.up_blocks.0.upsamplers.0.conv", "decoder.up_blocks.0.upsamplers.0"),
        (DECODE, "decoder.up_blocks.1.resnets.0.conv_shortcut", "decoder.up_blocks.1.resnets.0"),
        (ENCODE, "encoder.down_blocks.0.downsamplers.0.conv", "encoder.down_blocks.0.downsamplers.0"),
    ] {
        let model = planted(&format!("{convolution}.weight"));
        let (report, code) = verify(model.path(), name, &[]);
        assert_eq!((report["first_jump"].as_str(), code), (Some(module), Some(1)), "{report}");
    }
}

#[test]
fn a_table_marks_the_jump_and_a_picture_is_drawn() {
    let model = planted("decoder.mid_block.resnets.0.conv1.conv.weight");
    let (path, against) = (model.path().to_string_lossy(), case(DECODE));
    let plot = model.path().join("errors.svg");
    let run = tessera(
        &["verify", "--model", &path, "--against", &against, "--plot", &plot.to_string_lossy()],
        Path::new("."),
    );
    let table = text(&run.stdout);
    let jump = table.lines().find(|line| line.contains("<- first jump")).unwrap();
    assert!(jump.trim().starts_with("decoder.mid_block.resnets.0.conv1 "), "{table}");
    let complaint = text(&run.stderr);
    assert!(complaint.starts_with("error: the error jumps at `decoder.mid_block.resnets.0.conv1`"), "{complaint}");
    assert_eq!(run.status.code(), Some(1));
    let svg = fs::read_to_string(plot).unwrap();
    assert!(svg.contains("first jump: decoder.mid_block.resnets.0.conv1"), "{svg}");
    // A threshold that lets it pass: the error, and a jump to it.
    let (report, code) = verify(model.path(), DECODE, &["--threshold", "severe"]);
    assert_eq!((&report["first_jump"], code), (&Value::Null, Some(0)));
}

#[test]
fn activations_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden("");
    for (name, more) in [(DECODE, ["--latents", "--unscaled"].as_slice()), (ENCODE, &["--video"])] {
        // The golden's input, as the file that the arguments take.
        let bytes = fs::read(case(name)).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let input = golden.tensor("input").unwrap();
        safetensors::serialize_to_file([("sample", input)], None, &folder.path().join("input.safetensors")).unwrap();
        let mut arguments =
            vec!["taps", "--model", &model, more[0], "input.safetensors", "--output", "taps.safetensors"];
        arguments.extend(&more[1..]);
        let said = printed(&arguments, folder.path());
        assert!(said.starts_with("taps.safetensors: ") && said.contains(" activations of "), "{said}");

        let bytes = fs::read(folder.path().join("taps.safetensors")).unwrap();
        let ours = SafeTensors::deserialize(&bytes).unwrap();
        let names = |file: &SafeTensors<'_>| {
            let mut names: Vec<String> = file.names().into_iter().map(String::from).collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(&golden));
        for name in names(&ours) {
            assert_eq!(ours.tensor(&name).unwrap().shape(), golden.tensor(&name).unwrap().shape(), "{name}");
        }
        // With other threads the same bits.
        let again = ["verify", "--model", &model, "--against", "taps.safetensors", "--threads", "1", "--json"];
        let report: Value = serde_json::from_str(&printed(&again, folder.path())).unwrap();
        let [modules @ .., output] = report["rows"].as_array().unwrap().as_slice() else { panic!("no rows") };
        assert!(modules.iter().all(|row| row["max"] == 0.0), "{report}");
        // Of the program without taps, in which more is fused.
        assert!(output["module"] == "output" && output["level"] == "perfect", "{output}");
    }
}

#[test]
fn samples_and_tiles_are_told_apart() {
    let folder = common::model(|_| {});
    let shape = [2, 4, 5, 14, 18];
    common::latents_file(folder.path(), "z.safetensors", &shape, &common::random(5, shape.iter().product()));
    let input = ["--model", ".", "--latents", "z.safetensors", "--unscaled"];
    let tiles = ["--tiling", "16x16", "--tile-overlap", "0.25,0.25"];
    printed(&[&["taps"], &input[..], &tiles].concat(), folder.path());
    let bytes = fs::read(folder.path().join("taps.safetensors")).unwrap();
    let taps = SafeTensors::deserialize(&bytes).unwrap();
    // 3 x 3 tiles, each of a first step over 3 frames and one over 2.
    assert_eq!(taps.tensor("tap.17.decoder.conv_in").unwrap().shape()[..3], [2, 16, 2]);
    assert!(taps.tensor("tap.18.decoder.conv_in").is_err());
    // The file has the tiles; one thread, another order.
    let report = ["verify", "--model", ".", "--against", "taps.safetensors", "--threads", "1", "--json"];
    let report: Value = serde_json::from_str(&printed(&report, folder.path())).unwrap();
    let row = &report["rows"][0];
    assert_eq!((row["calls"].as_u64(), row["max"].as_f64()), (Some(36), Some(0.0)));
    // Another clip than the file's is told of.
    let other =
        tessera(&[&["verify", "--against", "taps.safetensors", "--tiling", "off"], &input[..]].concat(), folder.path());
    let complaint = text(&other.stderr);
    assert!(complaint.contains("tensor `tap.0.decoder.conv_in` has shape [2, 16, 3, 8, 8]"), "{complaint}");
}

#[test]
fn backends_are_compared_on_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let said = printed(&["verify"], folder.path());
    assert!(said.starts_with("the demo's model, decode [1, 16, 3, 4, 6]: cpu in f32 against interpret\n"), "{said}");
    assert!(said.contains("\npassed: no jump, nothing reaches 1e-4; the largest mean absolute error is "), "{said}");
    let bf16 = printed(&["verify", "--against", "cpu", "--dtype", "bf16", "--json"], folder.path());
    let report: Value = serde_json::from_str(&bf16).unwrap();
    assert_eq!((report["dtype"].as_str(), report["threshold"].as_f64()), (Some("bf16"), Some(0.1)));
    assert!(report["rows"][0]["relative"].as_f64().unwrap() > 1e-4, "{report}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden("");
    let refused = |arguments: &[&str], expected: &str| {
        let run = tessera(arguments, folder.path());
        let complaint = text(&run.stderr);
        assert_eq!((run.status.code(), complaint.lines().count()), (Some(1), 1), "{complaint}");
        assert!(complaint.starts_with("error: ") && complaint.contains(expected), "{complaint}");
    };
    refused(&["verify", "--against", "no.safetensors"], "no.safetensors: no such file; expected activations");
    let latents = case("decode-1-frame");
    refused(&["verify", "--against", &latents], "no tensor `tap.0.MODULE`");
    refused(&["verify", "--against", &case(DECODE)], "latents of shape [1, 4, 3, 5, 7]: the model takes 16 channels");
    refused(&["verify", "--plot", "errors.png"], "`.png` is not an output format");
    refused(&["taps", "--output", "taps.npy"], "`.npy` is not an output format");
    refused(&["taps", "--output", "no/taps.safetensors"], "there is no folder `no`");
    let other = case("encode-4-frames");
    let input = ["--latents", &format!("{other}#input"), "--unscaled"].map(str::to_owned);
    let arguments =
        ["verify", "--model", &model, "--against", &case(DECODE), &input[0], &input[1], &input[2]].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    refused(&arguments, "shape");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

/// A Python with what tools/taps.py needs; where there is none, `test` is skipped.
fn python(test: &str) -> Option<String> {
    let python = ir::knobs::PYTHON.text().unwrap_or_else(|| "python3".into());
    let check = Command::new(&python).args(["-c", "import torch, diffusers, safetensors"]).output();
    if check.is_ok_and(|check| check.status.success()) {
        return Some(python);
    }
    let name = ir::knobs::PYTHON.name;
    needs::skip(
        test,
        Need::Torch,
        &format!("`{python}` has no torch, diffusers and safetensors; {name} names one that has"),
    );
    None
}

#[test]
fn what_pytorch_writes_is_what_is_read() {
    let Some(python) = python("what_pytorch_writes_is_what_is_read") else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/taps.py");
    let run = |what: [&str; 2], more: &[&str]| {
        let mut command = Command::new(&python);
        command.current_dir(folder.path()).arg(&script).args([&golden(""), "taps.safetensors"]).args(what).args(more);
        let run = command.output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        let verify = ["verify", "--model", &golden(""), "--against", "taps.safetensors", "--json"];
        let report: Value = serde_json::from_str(&printed(&verify, folder.path())).unwrap();
        assert_eq!((&report["first_jump"], report["missing"].as_array().map(Vec::len)), (&Value::Null, Some(0)));
        report["rows"].as_array().unwrap().len()
    };
    assert_eq!(run(["--latents", &format!("{}#input", case(DECODE))], &[]), 77);
    assert_eq!(run(["--random", "encode:1,3,5,16,16"], &["--seed", "3"]), 28);
    assert_eq!(run(["--random", "decode:1,4,3,14,18"], &["--tile", "16x16", "--overlap", "0.25,0.25"]), 77);
}

/// Of classes whose activations come in as many ways as there are: in steps, with a timestep and noise,
/// of images in tiles, of frames as a batch, of cubes.
#[test]
fn what_pytorch_writes_of_other_classes_is_read_too() {
    let Some(python) = python("what_pytorch_writes_of_other_classes_is_read_too") else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/taps.py");
    let runs: [(&str, &str, &[&str]); 5] = [
        ("wan-2.1", "decode:1,6,3,2,3", &[]),
        ("ltx-0.9.1", "decode:2,6,2,2,2", &["--timestep", "0.05,0.25"]),
        ("autoencoder-kl", "decode:1,4,20,12", &["--tile", "default"]),
        ("temporal-decoder", "decode:1,4,3,2,3", &[]),
        ("allegro", "encode:1,3,8,12,8", &[]),
    ];
    for (name, input, more) in runs {
        let model = golden(&format!("../models/{name}"));
        let mut command = Command::new(&python);
        command
            .current_dir(folder.path())
            .arg(&script)
            .args([&model, "taps.safetensors", "--random", input])
            .args(more);
        let run = command.output().unwrap();
        assert!(run.status.success(), "{name}: {}", text(&run.stderr));
        let verify = ["verify", "--model", &model, "--against", "taps.safetensors", "--json"];
        let report: Value = serde_json::from_str(&printed(&verify, folder.path())).unwrap();
        let missing = report["missing"].as_array().map(Vec::len);
        assert_eq!((&report["first_jump"], missing), (&Value::Null, Some(0)), "{name}");
        assert!(report["rows"].as_array().unwrap().len() > 20, "{name}");
    }
}
