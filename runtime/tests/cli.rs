//! The command line, as a shell sees it: exit codes, one error line, files that are there or not,
//! and what is printed.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use backend_cpu::target::Target;
use common::{CONFIG, entries, hearing, latents_file, model, printed, random, refused, tessera, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with the tiny model, and `z.safetensors`: unscaled latents of so many samples and
/// frames.
fn workplace(samples: usize, frames: usize) -> TempDir {
    let folder = model(|_| {});
    let shape = [samples, 4, frames, 2, 3];
    latents_file(folder.path(), "z.safetensors", &shape, &random(5, shape.iter().product()));
    folder
}

const DECODE: [&str; 6] = ["decode", "--model", ".", "--latents", "z.safetensors", "--unscaled"];

fn decode(more: &[&str], folder: &Path) -> String {
    printed(&[&DECODE, more].concat(), folder)
}

#[test]
fn every_process_makes_the_same_bits() {
    let folder = workplace(2, 5);
    for dtype in ["f32", "bf16"] {
        for tiling in ["off", "4x4"] {
            let run = |name: &str, threads: &str| {
                let how = ["--dtype", dtype, "--tiling", tiling, "--tile-overlap", "0.5,0.5", "--threads", threads];
                decode(&[&["--quiet", "--output", name], how.as_slice()].concat(), folder.path());
                fs::read(folder.path().join(name)).unwrap()
            };
            let one = run("one.npy", "1");
            assert!(one == run("two.npy", "2") && one == run("three.npy", "3"), "{dtype}, {tiling}");
        }
    }
}

/// Each buffer of native code between inaccessible pages, and NaN where nothing was written yet.
#[test]
fn guard_pages_change_no_bit() {
    let folder = workplace(1, 4);
    for dtype in ["f32", "bf16"] {
        for target in Target::supported() {
            let run = |guards: &str, name: &str| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
                command.args(DECODE).args(["--quiet", "--dtype", dtype, "--output", name]).current_dir(folder.path());
                command.env("TESSERA_GUARD_PAGES", guards).env("TESSERA_ISA", target.isa.name());
                command.env("TESSERA_DOT_PRODUCTS", target.dot_products.name());
                let output = command.output().unwrap();
                assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{target}, {dtype}");
                fs::read(folder.path().join(name)).unwrap()
            };
            assert!(run("", "plain.npy") == run("1", "guarded.npy"), "{target}, {dtype}");
        }
    }
}

#[test]
fn json_is_one_object_with_every_field() {
    let folder = workplace(1, 3);
    for (backend, isa_is_none) in [("cpu", false), ("interpret", true)] {
        let report = decode(&["--json", "--output", "x.npy", "--threads", "2", "--backend", backend], folder.path());
        let report: Value = serde_json::from_str(&report).unwrap();
        let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "output",
                "latents",
                "frames",
                "height",
                "width",
                "seconds",
                "programs_compiled",
                "programs_cached",
                "program_runs",
                "tiling",
                "tiles",
                "arena_bytes",
                "threads",
                "lanes",
                "dtype",
                "isa",
                "device",
                "peak_rss_bytes"
            ]
        );
        let fixed = |key: &str| report[key].clone();
        assert_eq!(["output", "frames", "height", "width"].map(fixed), [json!("x.npy"), json!(5), json!(4), json!(6)]);
        assert_eq!(["programs_compiled", "program_runs", "threads"].map(fixed), [json!(1), json!(1), json!(2)]);
        assert_eq!((report["isa"] == "none", report["arena_bytes"] == 0), (isa_is_none, isa_is_none));
        for stage in ["load", "compile", "run", "write"] {
            assert!(report["seconds"][stage].as_f64().unwrap() > 0.0, "{stage}: {report}");
        }
    }
    assert_eq!(fs::metadata(folder.path().join("x.npy")).unwrap().len(), 128 + 4 * 3 * 5 * 4 * 6);
}

#[test]
fn a_batch_makes_several_files() {
    let folder = workplace(2, 1);
    let report = decode(&["--json", "--output", "x.y4m"], folder.path());
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["output"], json!(["x-0.y4m", "x-1.y4m"]));
    assert_eq!(report["frames"], 2);
    assert!(entries(folder.path()).contains(&"x-1.y4m".to_owned()));
}

#[test]
fn the_summary_says_what_where_and_how_long() {
    let folder = workplace(1, 2);
    let summary = decode(&["--fps", "12.5"], folder.path());
    for part in ["[1, 4, 2, 2, 3] [B, C, T, H, W]", "4 of 6x4", "compile", "1 compiled, 1 runs", "decoded.mp4 ("] {
        assert!(summary.contains(part), "`{part}` is not in\n{summary}");
    }
    assert!(folder.path().join("decoded.mp4").is_file());
}

#[test]
fn a_rate_that_a_gif_cannot_have_is_said() {
    let folder = workplace(1, 2);
    let said = |more: &[&str]| {
        let output = tessera(&[&DECODE, more].concat(), folder.path());
        assert_eq!(output.status.code(), Some(0));
        text(&output.stderr)
    };
    let note = said(&["--output", "a.gif", "--fps", "60"]);
    assert!(
        note.starts_with(
            "note: a.gif: a GIF shows at most 50 frames a second: it plays at 50 in place of 60, 1.20 times"
        )
    );
    assert_eq!(note.lines().count(), 1, "{note}");
    assert!(said(&["--output", "a.gif", "--fps", "59.94", "--json"]).contains("in place of 59.94"));
    for [output, fps] in [["a.gif", "50"], ["a.gif", "24"], ["a.mp4", "60"], ["a.y4m", "60"], ["a.npy", "60"]] {
        assert_eq!(said(&["--output", output, "--fps", fps]), "", "{output} {fps}");
    }
}

#[test]
fn scaled_latents_of_the_pipeline_are_the_default() {
    let folder = workplace(1, 2);
    // The same latents as a pipeline has them: [B, T, C, H, W] and multiplied by the scaling
    // factor, 0.5.
    let plain = random(5, 4 * 2 * 6);
    let at = |t: usize, c: usize, i: usize| 0.5 * plain[(c * 2 + t) * 6 + i];
    let scaled: Vec<f32> = (0..2)
        .flat_map(|t| (0..4).flat_map(move |c| (0..6).map(move |i| (t, c, i))))
        .map(|(t, c, i)| at(t, c, i))
        .collect();
    latents_file(folder.path(), "pipeline.safetensors", &[1, 2, 4, 2, 3], &scaled);
    decode(&["--output", "a.npy"], folder.path());
    let arguments = ["decode", "--model", ".", "--latents", "pipeline.safetensors#latents", "--output", "b.npy"];
    printed(&arguments, folder.path());
    let bytes = |name| fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("a.npy"), bytes("b.npy"));
}

#[test]
fn bad_input_is_one_error_and_no_output() {
    let folder = workplace(1, 1);
    let path = folder.path();
    let latents = |name: &str, shape: &[usize], value: f32| {
        latents_file(path, name, shape, &vec![value; shape.iter().product()]);
    };
    latents("channels.safetensors", &[1, 5, 3, 2, 2], 0.0);
    latents("rank.safetensors", &[4, 2, 2], 0.0);
    latents("nan.safetensors", &[1, 4, 1, 2, 2], f32::NAN);
    fs::write(path.join("text.safetensors"), "these are no latents").unwrap();
    fs::create_dir(path.join("taken.mp4")).unwrap();
    fs::create_dir(path.join("frames")).unwrap();
    fs::write(path.join("frames/thesis.txt"), "mine").unwrap();

    let of = |latents: &str, expected: &[&str]| {
        refused(path, &["decode", "--model", ".", "--latents", latents], expected);
    };
    of("nowhere.safetensors", &["nowhere.safetensors: no such file"]);
    of("text.safetensors", &["text.safetensors: not a usable tensor file: it is text", "`these are no latents`"]);
    of("channels.safetensors", &["[1, 5, 3, 2, 2]", "4 latent channels"]);
    of("rank.safetensors", &["[4, 2, 2]", "five axes"]);
    of("nan.safetensors", &["16 of 16 values that are not finite"]);
    of("z.safetensors#y", &["no tensor `y`"]);

    let to = |output: &str, expected: &[&str]| refused(path, &[&DECODE[..], &["--output", output]].concat(), expected);
    to("x.webm", &["`.webm` is not an output format", ".mp4"]);
    to("nowhere/x.mp4", &["there is no folder `nowhere`"]);
    to("taken.mp4", &["there is a folder of this name"]);
    to("frames", &["thesis.txt"]);
    refused(path, &["decode", "--json", "--output", "x.webm"], &["not an output format"]);
    refused(path, &["decode", "--model", "nowhere", "--latents", "z.safetensors"], &["nowhere: no model here"]);
    refused(path, &["info", "--model", "nowhere"], &["nowhere: no model here"]);
    refused(path, &["emit", "--model", "nowhere", "--step", "decode-first"], &["nowhere: no model here"]);
    refused(path, &["emit", "--step", "decode-first", "--frames", "0"], &["must each be at least 1"]);
}

#[test]
fn a_bad_model_is_one_error_and_no_output() {
    let folder = workplace(1, 1);
    let path = folder.path();
    fs::write(path.join("config.json"), CONFIG.replace("\"AutoencoderKLCogVideoX\"", "\"VQModel\"")).unwrap();
    refused(path, &DECODE, &["config.json", "another model"]);
    fs::write(path.join("config.json"), CONFIG.replacen('{', "{\"act_fn\": \"gelu\", \"pad_mode\": \"mirror\",", 1))
        .unwrap();
    refused(path, &DECODE, &["act_fn: expected", "gelu", "pad_mode: expected"]);
    fs::write(path.join("config.json"), CONFIG).unwrap();
    fs::write(path.join("diffusion_pytorch_model.safetensors"), "no weights at all").unwrap();
    refused(path, &DECODE, &["diffusion_pytorch_model.safetensors: not a usable tensor file: it is text"]);
}

#[test]
fn wrong_usage_is_told_apart() {
    let folder = workplace(1, 1);
    let cases: [(&[&str], &str); 15] = [
        (&[], "Usage: tessera"),
        (&["decode", "--model", "."], "--model needs --latents"),
        (&["decode", "--latents", "z.safetensors"], "--latents needs --model"),
        (&["decode", "--unscaled"], "--latents"),
        (&["decode", "--fps", "0"], "expected 0.01 to 1000"),
        (&["decode", "--fps", "-8"], "expected 0.01 to 1000"),
        (&["decode", "--fps", "fast"], "not a number"),
        (&["decode", "--threads", "0"], "1..=1024"),
        (
            &["decode", "--parallel", "time"],
            "every causal convolution of a step reads the frames that the step before left",
        ),
        (&["decode", "--parallel", "width"], "expected auto, batch, tiles or none"),
        (&["emit", "--step", "decode"], "decode-first, decode-next or decode-whole"),
        (&["emit", "--step", "decode-first", "--stage", "llvm"], "known are declared, a pass (canonicalize"),
        (&["emit", "--step", "decode-first", "--stage", "asm", "--dot"], "--dot draws graphs"),
        (&["emit", "--step", "decode-first", "--stage", "assign-precision"], "is no part of --dtype f32"),
        (&["decode", "--dtype", "f16"], "known are f32, bf16"),
    ];
    for (arguments, expected) in cases {
        let output = tessera(arguments, folder.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: `{expected}` is not in {stderr}");
        assert!(output.stdout.is_empty());
    }
    assert!(!folder.path().join("decoded.mp4").exists());
}

#[test]
fn warnings_do_not_stop_a_decode() {
    let folder = workplace(1, 1);
    fs::write(folder.path().join("config.json"), CONFIG.replacen('{', "{\"colour_space\": \"rgb\",", 1)).unwrap();
    let output = tessera(&[&DECODE[..], &["--output", "x.npy"]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(0));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("warning: ") && stderr.contains("colour_space"), "{stderr}");
}

#[test]
#[cfg(unix)]
fn ctrl_c_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let demo = hearing(env!("CARGO_BIN_EXE_tessera"))
        .args(["decode", "--threads", "1", "--json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The writer's temporary file: the handler is in its place, and seconds of decoding are to
    // come.
    while entries(folder.path()).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(text(&output.stderr), "error: interrupted; nothing was written\n");
    assert!(output.stdout.is_empty());
    assert_eq!(entries(folder.path()), [] as [String; 0]);
}

#[test]
fn a_step_is_emitted_at_every_stage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("config.json"), CONFIG).unwrap();
    let emit = |more: &[&str]| printed(&[&["emit", "--model", "."], more].concat(), path);
    let declared =
        emit(&["--step", "decode-first", "--stage", "declared", "--frames", "3", "--height", "2", "--width", "5"]);
    assert!(
        declared.starts_with("graph @decode_first {") && declared.contains("tensor<1x4x3x2x5xf32, ncthw>"),
        "{declared}"
    );
    ir::text::parse(&declared).unwrap();
    let last = emit(&["--step", "encode-next"]);
    assert!(
        last.contains("tensor<1x3x8x16x24xf32, ncthw>") && last.contains("state {") && last.contains("nthwc"),
        "{last}"
    );
    for pass in passes::cpu_pipeline(passes::Precision::F32) {
        ir::text::parse(&emit(&["--step", "encode-first", "--stage", pass.name])).unwrap();
    }
    let same = emit(&["--step", "encode-next", "--stage", "eliminate-dead-code"]);
    assert_eq!(last, same);
    assert!(emit(&["--step", "decode-next", "--dot"]).starts_with("digraph"));
    let clif = emit(&["--step", "decode-next", "--stage", "clif"]);
    assert!(clif.starts_with("; decode-next of 1x2x8x12 for ") && clif.contains("function "), "{clif}");
    assert!(clif.lines().any(|line| line.starts_with("; kernel ") && line.ends_with(" calls")));
    let kernels =
        |text: &str| text.lines().filter(|line| line.starts_with("; kernel ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(kernels(&emit(&["--step", "decode-next", "--stage", "asm"])), kernels(&clif));
    assert!(printed(&["emit", "--step", "decode-first"], path).contains("tensor<1x16x2x24x30xf32, ncthw>"));
    let narrow = emit(&["--step", "encode-next", "--dtype", "bf16"]);
    assert!(!last.contains("bf16") && narrow.contains("tensor<1x3x8x16x24xbf16"), "{narrow}");
    assert!(
        emit(&["--step", "decode-next", "--dtype", "bf16", "--stage", "clif"]).contains("_bf16: "),
        "kernels in bf16"
    );
}

#[test]
fn a_step_is_emitted_of_a_configuration_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("mine.json"), CONFIG).unwrap();
    // With a configuration at hand nothing is asked of the hub.
    let emitted = printed(&["emit", "--model", "owner/name", "--config", "mine.json", "--step", "decode-next"], path);
    assert!(emitted.contains("tensor<1x4x2x8x12xf32, ncthw>"), "{emitted}");
    refused(
        path,
        &["emit", "--model", "owner/name", "--config", "other.json", "--step", "decode-next"],
        &["other.json: no such file"],
    );
}

/// What a run says of memory: its peak, what was expected, and whether frames were cut into tiles.
fn memory(folder: &Path, budget: &str) -> (u64, u64, bool) {
    let more = ["--json", "--output", "x.npy", "--threads", "2", "--memory-budget", budget];
    let report: Value = serde_json::from_str(&decode(&more, folder)).unwrap();
    let bytes = |value: &Value| value.as_u64().unwrap();
    let needed = bytes(&report["tiling"]["needed_bytes"]);
    (bytes(&report["peak_rss_bytes"]), needed, report["tiling"]["tile"] != Value::Null)
}

#[test]
#[cfg(target_os = "linux")]
fn a_memory_budget_is_kept() {
    let folder = model(|_| {});
    let path = folder.path();
    let shape = [1, 4, 7, 60, 90];
    latents_file(path, "z.safetensors", &shape, &random(5, shape.iter().product()));
    let (peak, whole, tiled) = memory(path, "8GiB");
    assert!(peak <= whole && !tiled, "peak {peak}, expected {whole}");
    // What the process holds when it plans differs a little from run to run.
    for share in [105, 90, 75] {
        let budget = whole * share / 100;
        let (peak, needed, tiled) = memory(path, &format!("{budget}B"));
        assert!(peak <= needed && needed <= budget, "peak {peak}, expected {needed}, budget {budget}");
        assert_eq!(tiled, share < 100);
    }
    let output = tessera(&[&DECODE[..], &["--output", "y.npy", "--memory-budget", "8MiB"]].concat(), path);
    let refusal = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let needed = refusal.split_once("needs ").and_then(|(_, rest)| rest.split_once(" MiB"));
    let needed: f64 = needed.unwrap_or_else(|| panic!("{refusal}")).0.parse().unwrap();
    assert!(refusal.contains("the memory budget is 8.0 MiB") && !path.join("y.npy").exists(), "{refusal}");
    let (peak, ..) = memory(path, &format!("{:.1}MiB", needed + 2.0));
    assert!(peak as f64 <= (needed + 2.0) * 1048576.0);
}

/// A limit on address space is memory that is not there: it makes the same tiles on every machine.
#[test]
#[cfg(target_os = "linux")]
fn tiles_that_follow_from_free_memory_are_told_and_can_be_pinned() {
    let folder = model(|_| {});
    let path = folder.path();
    let shape = [1, 4, 7, 60, 90];
    latents_file(path, "z.safetensors", &shape, &random(5, shape.iter().product()));
    let (_, whole, _) = memory(path, "8GiB");
    // Of what is left, a budget of less than whole frames take.
    let limited = |more: &[&str]| {
        let script = format!("ulimit -v {}; exec \"$0\" \"$@\"", 4 << 20);
        let percent = format!("{:.3}%", whole as f64 * 60.0 / (4_u64 << 30) as f64);
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tessera")]).args(DECODE).args(["--threads", "2"]);
        command.args(["--memory-budget", &percent]).args(more).current_dir(path);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let report: Value = serde_json::from_str(&limited(&["--json", "--output", "a.npy"])).unwrap();
    let tiling = &report["tiling"];
    assert_eq!(tiling["follows_free_memory"], true, "{tiling}");
    let pin = tiling["pinned_by"].as_str().unwrap();
    let tile = &tiling["tile"];
    assert!(pin.starts_with(&format!("--tiling {}x{}", tile[0], tile[1])), "{pin}: {tiling}");
    let summary = limited(&["--output", "b.npy"]);
    for part in ["pixels", "follow from the memory that was free", "other tiles give other pixels", "`--tiling "] {
        assert!(summary.contains(part), "`{part}` is not in\n{summary}");
    }
    // What pins them gives the same pixels with all memory there is, and nothing to tell.
    let pinned: Vec<&str> = pin.split(' ').collect();
    let report = decode(&[&["--json", "--output", "c.npy", "--threads", "2"], &pinned[..]].concat(), path);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["tiling"]["follows_free_memory"], &report["tiling"]["pinned_by"]),
        (&false.into(), &Value::Null)
    );
    assert!(fs::read(path.join("a.npy")).unwrap() == fs::read(path.join("c.npy")).unwrap());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut emit = Command::new(env!("CARGO_BIN_EXE_tessera"))
        .args(["emit", "--step", "decode-next", "--stage", "asm"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(emit.stdout.take());
    let output = emit.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn info_tells_of_model_step_and_machine() {
    let folder = workplace(1, 1);
    for (arguments, parts) in [
        (&["info", "--model", "."][..], ["[8, 16]", "1x2x8x12 latents", "decoder  BF16", "encoder  F64"]),
        (&["info"][..], ["Big Buck Bunny", "1x2x24x30 latents", "decoder  F16", "encoder  F16"]),
    ] {
        let info = printed(arguments, folder.path());
        for part in [&parts[..], &["pad_mode", "FLOP", "plan's peak", "instruction sets", "TESSERA_ISA"]].concat() {
            assert!(info.contains(part), "`{part}` is not in\n{info}");
        }
    }
}

/// A quick bench: the tiny model's smallest step.
const BENCH: [&str; 12] =
    ["bench", "--model", ".", "--frames", "2", "--height", "2", "--width", "3", "--repeats", "1", "--threads=1"];

#[test]
fn a_bench_tells_of_every_kernel_and_of_the_whole() {
    let folder = model(|_| {});
    let text = printed(&BENCH, folder.path());
    for part in [
        "Kernels by module, in the order in which they run",
        "decoder.up_blocks.0.resnets.0.conv1",
        "convolution 3x3x3 ",
        "By kind of kernel",
        "decode-first of 1x2x2x3",
        "GFLOP/s and ",
        "the median of 1",
        "pack weights",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let top = printed(&[&BENCH[..], &["--top", "3"]].concat(), folder.path());
    assert!(top.starts_with("The 3 slowest of ") && !top.contains("in the order"), "{top}");
    let ablation = printed(&[&BENCH[..], &["--ablation"]].concat(), folder.path());
    for part in ["as it is", "without fuse-padding", "without any of these", "all winograd4", "times as long"] {
        assert!(ablation.contains(part), "`{part}` is not in\n{ablation}");
    }
}

#[test]
fn a_bench_as_json_adds_up() {
    let folder = model(|_| {});
    let more = ["--step", "decode-next", "--algorithm", "direct", "--without-pass", "fuse-bias", "--isa", "portable"];
    let report = printed(&[&BENCH[..], &more, &["--json", "--plot", "roofline.svg"]].concat(), folder.path());
    let report: Value = serde_json::from_str(&report).unwrap();
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "model step element isa threads cpu algorithm without_passes repeats ceilings seconds flops bytes \
                    gflops_per_second share_of_peak arena_bytes weight_bytes peak_rss_bytes kinds calls";
    assert_eq!(keys.join(" "), expected);
    assert_eq!(report["step"], json!({"kind": "decode-next", "batch": 1, "frames": 2, "height": 2, "width": 3}));
    assert_eq!([&report["isa"], &report["algorithm"]], ["portable", "direct"]);
    assert_eq!(report["without_passes"], json!(["fuse-bias"]));
    let positive = |value: &Value| assert!(value.as_f64().unwrap() > 0.0, "{value}");
    for stage in ["load", "declare", "passes", "codegen", "pack", "first", "run"] {
        positive(&report["seconds"][stage]);
    }
    ["gflops", "gbytes_per_second"].iter().for_each(|of| positive(&report["ceilings"][of]));
    let calls = report["calls"].as_array().unwrap();
    let sum = |key: &str| calls.iter().map(|call| call[key].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum("flops"), report["flops"].as_f64().unwrap());
    assert_eq!(sum("bytes_read") + sum("bytes_written"), report["bytes"].as_f64().unwrap());
    assert!(sum("seconds") <= report["seconds"]["run"].as_f64().unwrap());
    let kinds = report["kinds"].as_array().unwrap();
    let of_kinds: f64 = kinds.iter().map(|kind| kind["calls"].as_f64().unwrap()).sum();
    assert_eq!(of_kinds, calls.len() as f64);
    assert!(calls.iter().any(|call| call["kind"] == "add_bias"), "the pass was left out");
    assert!(calls.iter().all(|call| call["algorithm"].is_null() || call["algorithm"] == "direct"));
    assert!(fs::read_to_string(folder.path().join("roofline.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn a_bench_needs_no_weights() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.json"), CONFIG).unwrap();
    let arguments = ["bench", "--random-weights", "--config", "small.json", "--step", "encode-first", "--repeats", "2"];
    let report = printed(&[&arguments[..], &["--ablation", "--dtype", "bf16", "--json"]].concat(), folder.path());
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["element"], "bf16");
    assert_eq!(report["step"], json!({"kind": "encode-first", "batch": 1, "frames": 8, "height": 8, "width": 12}));
    let variants = report["variants"].as_array().unwrap();
    assert_eq!(variants[0]["variant"], "as it is");
    assert!(variants.iter().all(|v| v["runs"].as_array().unwrap().len() == 2 && v["ratio"].as_f64().unwrap() > 0.0));
}

#[test]
fn a_bench_that_cannot_be_is_refused() {
    let folder = model(|_| {});
    let usage: [(&[&str], &str); 7] = [
        (&["--algorithm", "fft"], "known are direct, dot, winograd2"),
        (&["--without-pass", "channel-last"], "brings the graph to the stage ChannelLast"),
        (&["--without-pass", "fuse-all"], "those that can be left out are canonicalize"),
        (&["--config", "config.json"], "--config needs --model or --random-weights"),
        (&["--random-weights", "--model", "."], "cannot be used with"),
        (&["--isa", "sse9"], "known are avx512, avx2, portable"),
        (&["--ablation", "--algorithm", "direct"], "cannot be used with"),
    ];
    for (more, expected) in usage {
        let output = tessera(&[&["bench"], more].concat(), folder.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {stderr}");
        assert!(stderr.contains(expected), "{more:?}: `{expected}` is not in {stderr}");
    }
    refused(folder.path(), &[&BENCH[..], &["--plot", "roofline.png"]].concat(), &["known: .svg"]);
    refused(folder.path(), &["bench", "--frames", "0"], &["must each be at least 1"]);
    let huge = ["bench", "--frames", "2", "--height", "60000", "--width", "90000"];
    refused(folder.path(), &huge, &["not enough memory", "GiB are available"]);
}

#[test]
fn an_unknown_instruction_set_lists_the_known() {
    let folder = workplace(1, 1);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
        command.args(arguments).current_dir(folder.path()).env("TESSERA_ISA", "sse9").output().unwrap()
    };
    for arguments in [&DECODE[..], &["info"], &["emit", "--step", "decode-next", "--stage", "asm"]] {
        let output = run(arguments);
        let expected = "error: TESSERA_ISA: unknown instruction set `sse9`; known are avx512, avx2, portable\n";
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), expected), "{arguments:?}");
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["decode", "encode", "roundtrip", "bench", "emit", "info", "completions"] {
        let help = printed(&["help", command], folder.path());
        assert!(help.contains("Examples:") && help.contains("130") && help.contains("tessera knobs"), "{help}");
    }
    assert_eq!(printed(&["--version"], folder.path()), format!("tessera {}\n", env!("CARGO_PKG_VERSION")));
}
