//! Looking into a run: non-finite values, the timeline, the log, the variables that are read.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use common::{Tensor, latents_file, model, printed, random, tessera, text};
use safetensors::Dtype;
use serde_json::Value;
use tempfile::TempDir;

const DECODE: [&str; 8] = ["decode", "--model", ".", "--latents", "z.safetensors", "--unscaled", "--output", "x.npy"];

/// A folder with the tiny model, edited, and latents of five frames.
fn workplace(edit: impl FnOnce(&mut Vec<Tensor>)) -> TempDir {
    let folder = model(edit);
    let shape = [1, 4, 5, 14, 18];
    latents_file(folder.path(), "z.safetensors", &shape, &random(5, shape.iter().product()));
    folder
}

/// Makes a parameter f32 and gives its first value another one.
fn set_first(tensors: &mut [Tensor], name: &str, value: f32) {
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
    let values = random(1, tensor.shape.iter().product());
    let values = std::iter::once(value).chain(values.into_iter().skip(1).map(|value| value / 10.0));
    (tensor.dtype, tensor.bytes) = (Dtype::F32, values.flat_map(f32::to_le_bytes).collect());
}

fn decode(more: &[&str], folder: &Path) -> Output {
    tessera(&[&DECODE, more].concat(), folder)
}

fn check(folder: &Path, more: &[&str]) -> String {
    let run = decode(&[&["--check-finite"], more].concat(), folder);
    let complaint = text(&run.stderr);
    assert_eq!((run.status.code(), complaint.lines().count()), (Some(1), 1), "{complaint}");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing is left: {left:?}");
    complaint
}

#[test]
fn the_first_non_finite_value_is_named() {
    let name = "decoder.mid_block.resnets.1.conv1.conv.weight";
    let folder = workplace(|tensors| set_first(tensors, name, f32::NAN));
    for backend in ["cpu", "interpret"] {
        let complaint = check(folder.path(), &["--backend", backend]);
        let expected = [
            "error: step 0 (decode-first",
            "of sample 0, tile 0: convolution of `decoder.mid_block.resnets.1.conv1` makes ",
            " values that are not finite, the first (NaN) at [",
            "; it reads ",
            &format!("`{name}`: "),
            ", 1 of 6912 not finite",
            "; the checkpoint is damaged",
        ];
        for part in expected {
            assert!(complaint.contains(part), "{backend}: `{part}` is not in {complaint}");
        }
    }
}

#[test]
fn what_grows_beyond_f32_is_named_with_its_tile() {
    // The second tile alone sees latents as large as that.
    let folder = workplace(|_| {});
    let shape = [1, 4, 5, 14, 18];
    let mut latents = random(5, shape.iter().product());
    latents.iter_mut().skip(13).step_by(18).for_each(|value| *value = 3e38);
    latents_file(folder.path(), "z.safetensors", &shape, &latents);
    let tiles = ["--tiling", "16x16", "--tile-overlap", "0.25,0.25"];
    let complaint = check(folder.path(), &tiles);
    for part in ["step 0 (decode-first", "sample 0, tile 1: ", "not finite, the first (", "3.000e38"] {
        assert!(complaint.contains(part), "`{part}` is not in {complaint}");
    }
    // Whoever does not ask is told of the frame alone.
    let unasked = decode(&tiles, folder.path());
    let complaint = text(&unasked.stderr);
    assert_eq!(unasked.status.code(), Some(1), "{complaint}");
    assert!(complaint.starts_with("error: the decoder made ") && complaint.contains("--check-finite"), "{complaint}");
}

#[test]
fn a_sound_run_is_the_same_when_looked_at() {
    let folder = workplace(|_| {});
    let output = || fs::read(folder.path().join("x.npy")).unwrap();
    for backend in ["cpu", "interpret"] {
        printed(&[&DECODE[..], &["--backend", backend]].concat(), folder.path());
        let plain = output();
        let looked_at = ["--backend", backend, "--check-finite", "--trace", "trace.json", "--dtype", "f32"];
        printed(&[&DECODE[..], &looked_at].concat(), folder.path());
        assert!(output() == plain, "{backend}");
    }
    printed(&[&DECODE[..], &["--check-finite", "--dtype", "bf16"]].concat(), folder.path());
}

#[test]
fn a_timeline_has_every_kernel_on_its_thread() {
    let folder = workplace(|_| {});
    printed(&[&DECODE[..], &["--threads", "2", "--parallel", "none", "--trace", "trace.json"]].concat(), folder.path());
    let json: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("trace.json")).unwrap()).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let threads: BTreeMap<u64, &str> = events
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap()))
        .collect();
    let names: BTreeSet<&str> = threads.values().copied().collect();
    // On a busy machine one of the two threads may come too late for all of so small a step.
    let workers: BTreeSet<&str> = names.iter().copied().filter(|name| *name != "main").collect();
    assert!(names.contains("main") && !workers.is_empty(), "{names:?}");
    assert!(workers.is_subset(&BTreeSet::from(["tessera-0", "tessera-1"])), "{names:?}");
    let of = |category: &str| events.iter().filter(|event| event["cat"] == category).collect::<Vec<_>>();
    // Latents of five frames: a first step and a next one.
    assert_eq!([of("compile").len(), of("load").len(), of("step").len()], [2, 2, 2]);
    let time = |event: &Value| (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
    let kernels = of("kernel");
    assert!(kernels.len() > 100, "{}", kernels.len());
    for kernel in &kernels {
        let (start, duration) = time(kernel);
        let inside = of("step").iter().any(|step| {
            let (step_start, step_duration) = time(step);
            start >= step_start && start + duration <= step_start + step_duration + 1.0
        });
        assert!(
            inside && kernel["args"]["module"].is_string() && kernel["args"]["blocks"].as_u64() > Some(0),
            "{kernel}"
        );
    }
    // A thread does one thing at a time.
    for thread in threads.keys() {
        let mut spans: Vec<_> =
            kernels.iter().filter(|kernel| kernel["tid"] == *thread).map(|kernel| time(kernel)).collect();
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0 + 1e-3), "thread {thread}");
    }
    assert!(kernels.iter().any(|kernel| kernel["args"]["module"] == "decoder.conv_in"));
}

#[test]
fn the_log_has_levels() {
    let folder = workplace(|_| {});
    let log = |more: &[&str]| {
        let run = tessera(&[&["--quiet"], &DECODE[..], more].concat(), folder.path());
        assert_eq!(run.status.code(), Some(0));
        text(&run.stderr)
    };
    let cases = [
        (vec![], None, "INFO"),
        (vec!["--log", "info"], Some("decode-first"), "DEBUG"),
        (vec!["--log", "debug"], Some("arena"), "TRACE"),
        (vec!["--log", "trace"], Some("decoder.conv_in: convolution 3x3x3"), "never"),
    ];
    for (arguments, has, has_not) in cases {
        let log = log(&arguments);
        assert!(has.is_none_or(|part| log.contains(part)) && !log.contains(has_not), "{arguments:?}: {log}");
    }
}

#[test]
fn knobs_are_listed_with_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let listed = printed(&["knobs"], folder.path());
    for knob in ir::knobs::ALL {
        assert!(listed.contains(&format!("  {}=", knob.name)) && listed.contains(knob.doc), "{}: {listed}", knob.name);
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tessera"));
    let listed =
        text(&command.arg("knobs").env("TESSERA_ISA", "portable").env("HF_TOKEN", "secret").output().unwrap().stdout);
    assert!(listed.contains("TESSERA_ISA=avx512, avx2 or portable [portable]"), "{listed}");
    assert!(listed.contains("HF_TOKEN=a token [(set)]") && !listed.contains("secret"), "{listed}");
}
