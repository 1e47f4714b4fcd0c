//! PJRT plugins on the command line: what is found, and what is told of what is none.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::text;

/// Decodes what is in the folder, told in JSON; the output's path follows.
const DECODE: [&str; 8] = ["decode", "--model", ".", "--latents", "z.safetensors", "--unscaled", "--json", "--output"];

/// Runs the binary where no plugin is found but those of the environment.
fn tessera(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    tessera_at(tempfile::tempdir().unwrap().path(), arguments, environment)
}

/// The same, with this folder for everything.
fn tessera_at(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
    command.args(arguments).current_dir(folder).env("XDG_DATA_HOME", folder).env("HOME", folder);
    command.env("PATH", folder).env_remove("TESSERA_PJRT_PLUGIN").envs(environment.iter().copied());
    command.output().unwrap()
}

#[test]
fn plugins_that_are_missing_are_told_how_to_get() {
    let output = tessera(&["plugin", "list"], &[]);
    let found = text(&output.stdout);
    assert!(output.status.success());
    for part in
        ["cpu: no PJRT plugin for `cpu` in /", "`tessera plugin install tpu` gets it", "pip install jax[cuda13]"]
    {
        assert!(found.contains(part), "{found}");
    }
    let output = tessera(&["plugin", "install", "cpu"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: no Python with pip on the PATH"), "{}", text(&output.stderr));
}

/// A pip that refuses what the real one refuses, and else installs. Of the real one: values of the
/// environment win over its files of settings but for empty ones, which are passed over; options
/// win over both; `--target` goes with no other place.
const PIP: &str = r#"#!/bin/sh
case "$*" in *"pip --version"*) exit 0;; esac
fail() { echo "ERROR: $1" >&2; echo "[notice] a newer pip is there" >&2; exit 1; }
[ "$PIP_USER" = 0 ] || fail "Can not combine '--user' and '--target'"
[ "$PIP_REQUIRE_VIRTUALENV" = 0 ] || fail "Could not find an activated virtualenv (required)."
[ "$PIP_DRY_RUN" = 0 ] || exit 0
[ "$PIP_INDEX_URL" = "https://index.invalid/simple" ] || fail "the user's own index is not asked"
[ -z "$PIP_CONFIG_FILE" ] && fail "the user's own settings are not read"
prefix=$PIP_PREFIX root=$PIP_ROOT
while [ $# -gt 0 ]; do
    case "$1" in
        --prefix=*) prefix=${1#--prefix=};;
        --root=*) root=${1#--root=};;
        --target) shift; target=$1;;
    esac
    shift
done
[ -z "$prefix" ] || fail "Cannot set --home and --prefix together"
[ "$root" = / ] || fail "the package went below $root"
[ -z "$FAIL" ] || fail "No matching distribution found"
/bin/mkdir "$target/lammps_jax_pjrt_cpu"
echo library > "$target/lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so"
"#;

/// Whatever pip is set to do elsewhere: the plugin's place is ours.
#[test]
#[cfg(unix)]
fn a_plugin_is_installed_whatever_pip_is_set_to() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python3");
    fs::write(&python, PIP).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let at = folder.path().to_str().unwrap();
    let install = |more: &[(&str, &str)]| {
        let own = [("PATH", at), ("PIP_INDEX_URL", "https://index.invalid/simple"), ("PIP_CONFIG_FILE", "pip.conf")];
        tessera_at(folder.path(), &["plugin", "install", "cpu"], &[&own[..], more].concat())
    };
    let hostile = [
        ("PIP_USER", "1"),
        ("PIP_REQUIRE_VIRTUALENV", "true"),
        ("PIP_PREFIX", "/nowhere"),
        ("PIP_ROOT", "/nowhere"),
        ("PIP_TARGET", "/nowhere"),
        ("PIP_DRY_RUN", "1"),
    ];
    for setting in hostile.iter().map(std::slice::from_ref).chain([&hostile[..], &[]]) {
        let output = install(setting);
        let found = text(&output.stdout);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{setting:?}");
        let library = found.trim_end().strip_prefix("installed ").unwrap();
        assert_eq!(fs::read_to_string(library).unwrap(), "library\n", "{setting:?}");
        fs::remove_file(library).unwrap();
    }
    let failed = install(&[("FAIL", "1")]);
    assert_eq!(failed.status.code(), Some(1));
    let expected = "python3 -m pip install lammps-jax-pjrt-cpu==0.11.2 failed: ERROR: No matching distribution found\n";
    assert_eq!(text(&failed.stderr), format!("error: {expected}"));
}

#[test]
fn what_is_no_plugin_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.so");
    fs::write(&file, "no library").unwrap();
    let missing = folder.path().join("missing.so");
    let mut wrong = vec![(file, "file too short"), (missing, "No such file")];
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(libc) = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6")) {
        wrong.push((libc.into(), "not a PJRT plugin: it has no GetPjrtApi"));
    }
    for (path, expected) in wrong {
        let path = path.to_str().unwrap();
        let output = tessera(&["plugin", "list", path], &[]);
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.starts_with(&format!("error: {path}: ")) && error.contains(expected), "{error}");
        // In the list of all, it hides no others.
        let output = tessera(&["plugin", "list"], &[("TESSERA_PJRT_PLUGIN", path)]);
        assert!(output.status.success() && text(&output.stdout).contains(expected));
    }
}

/// A plugin's path as an argument.
fn plugin(test: &str) -> Option<String> {
    needs::plugin(test).map(spelled)
}

fn spelled(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("a path in UTF-8")
}

#[test]
fn a_plugin_describes_itself() {
    let Some(plugin) = plugin("a_plugin_describes_itself") else { return };
    let output = tessera(&["plugin", "list", &plugin], &[]);
    let found = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    for part in ["PJRT API   0.", "StableHLO  1.", "platform   cpu", "devices    ", ": cpu, "] {
        assert!(found.contains(part), "{found}");
    }
    // The plugin ends its process; that is an error like others.
    let output = tessera(&["plugin", "list", &plugin], &[("XLA_FLAGS", "--xla_no_such_flag=1")]);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("ended its process") && error.contains("xla_no_such_flag"), "{error}");
}

#[test]
fn compiling_needs_a_plugin_and_steps_of_one_half() {
    let output = tessera(&["compile", "--target", "v6e:1x1"], &[]);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("`tessera plugin install tpu` gets it"), "{error}");
    let output = tessera(&["compile", "--target", "v6e:1x1", "--step", "encode-first"], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn programs_are_compiled_once_and_run_again() {
    let name = "programs_are_compiled_once_and_run_again";
    let Some(plugin) = plugin(name) else { return };
    let folder = common::model(|_| {});
    let shape = [1, 4, 5, 2, 3];
    common::latents_file(folder.path(), "z.safetensors", &shape, &common::random(5, shape.iter().product()));
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
        command.args(DECODE).arg("x.npy");
        let output = command.args(more).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        (report, fs::read(folder.path().join("x.npy")).unwrap())
    };
    let (native, expected) = run(&[]);
    let pjrt = ["--backend", "pjrt", "--plugin", &plugin, "--cache-dir", "programs"];
    let (first, found) = run(&pjrt);
    let (second, again) = run(&pjrt);
    let programs =
        |report: &serde_json::Value| [&report["programs_compiled"], &report["programs_cached"]].map(Clone::clone);
    let steps = native["programs_compiled"].clone();
    assert_eq!(programs(&first), [steps.clone(), 0.into()]);
    assert_eq!(programs(&second), [0.into(), steps]);
    assert_eq!((&first["device"], &first["isa"]), (&"cpu".into(), &"none".into()));
    assert_eq!(found, again);
    let values = |file: &[u8]| -> Vec<f32> {
        file[128..].chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let differences = values(&expected).iter().zip(values(&found)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(differences < 1e-4, "{differences}");

    // Damage on disk is told, and mended.
    let entry = fs::read_dir(folder.path().join("programs")).unwrap().next().unwrap().unwrap().path();
    fs::write(&entry, "damaged").unwrap();
    let (third, again) = run(&pjrt);
    assert_eq!((&third["programs_compiled"], &found), (&1.into(), &again));
    assert_ne!(fs::read(&entry).unwrap(), b"damaged");

    // Two tiles at once: the tensors of the one travel while the other runs.
    let tiles = [&pjrt[..], &["--tiling", "4x4", "--tile-overlap", "0.5,0.5"]].concat();
    let ((in_turn, one), (at_once, two)) = (run(&tiles), run(&[&tiles[..], &["--parallel", "tiles"]].concat()));
    assert_eq!((&in_turn["lanes"], &at_once["lanes"]), (&1.into(), &2.into()), "{at_once}");
    assert_eq!(one, two);

    let (_, bf16) = run(&[&pjrt[..], &["--dtype", "bf16"]].concat());
    let differences = values(&expected).iter().zip(values(&bf16)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(differences > 0.0 && differences < 0.2, "{differences}");
}

#[test]
#[cfg(unix)]
fn two_processes_share_a_cache_of_programs() {
    let name = "two_processes_share_a_cache_of_programs";
    let Some(plugin) = plugin(name) else { return };
    let folder = common::model(|_| {});
    let path = folder.path();
    common::latents_file(path, "z.safetensors", &[1, 4, 3, 2, 3], &common::random(5, 72));
    let start = |output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
        command.args(DECODE).arg(output);
        command.args(["--backend", "pjrt", "--plugin", &plugin, "--cache-dir", "programs"]).current_dir(path);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let finished = |process: Child| {
        let output = process.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        serde_json::from_str::<serde_json::Value>(&text(&output.stdout)).unwrap()
    };
    // One that dies as it begins to fill the cache takes nothing along.
    let mut killed = start("killed.npy");
    while !path.join("programs").exists() {
        assert_eq!(killed.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(2));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let both = [start("a.npy"), start("b.npy")];
    both.into_iter().for_each(|process| drop(finished(process)));
    let read = |name: &str| fs::read(path.join(name)).unwrap();
    assert!(read("a.npy") == read("b.npy"));
    let third = finished(start("c.npy"));
    assert_eq!(third["programs_compiled"], 0);
    assert!(read("c.npy") == read("a.npy"));
}

#[test]
fn options_of_another_backend_are_refused() {
    let folder = common::model(|_| {});
    common::latents_file(folder.path(), "z.safetensors", &[1, 4, 1, 2, 3], &[0.5; 24]);
    let arguments = ["decode", "--model", ".", "--latents", "z.safetensors", "--output", "x.npy", "--plugin", "cpu"];
    let output = common::tessera(&arguments, folder.path());
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("ask for that one"), "{error}");
    assert!(!folder.path().join("x.npy").exists());
}

#[test]
fn steps_are_compiled_for_a_tpu_that_is_not_there() {
    let name = "steps_are_compiled_for_a_tpu_that_is_not_there";
    let Some(libtpu) = needs::libtpu(name).map(spelled) else { return };
    let folder = common::model(|_| {});
    let video = ["--size", "32x48", "--frames", "9", "--tiling", "off"];
    let arguments = ["compile", "--model", ".", "--target", "v6e:1x1", "--plugin", &libtpu, "--optimize", "O0"];
    let output = ["--step", "decode-next", "--json", "--output", "programs"];
    let output = common::tessera(&[&arguments[..], &video, &output].concat(), folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((&report["device"], &report["fits"]), (&"TPU v6 lite".into(), &true.into()));
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), fs::read_dir(folder.path().join("programs")).unwrap().count());
    for step in steps {
        let program = fs::metadata(folder.path().join(step["executable"].as_str().unwrap())).unwrap();
        assert_eq!(step["executable_bytes"], program.len());
        assert!(
            step["memory_bytes"]["total"].as_u64().unwrap() > 0 && step["seconds"].as_f64().unwrap() > 0.0,
            "{step}"
        );
    }
    // A video has other steps than a single batch of frames.
    let wrong = common::tessera(&[&arguments[..], &video, &["--step", "decode-whole"]].concat(), folder.path());
    let error = text(&wrong.stderr);
    assert!(wrong.status.code() == Some(1) && error.contains("has no step decode-whole"), "{error}");

    // What there is not is told on one line.
    for (target, mesh, expected) in [
        ("v99:1x1", "height=1", "error: `v99:1x1` is no target"),
        ("v6e:1x1", "height=2", "error: v6e:1x1 has 1 of the 2 devices that the mesh needs"),
    ] {
        let arguments = ["compile", "--target", target, "--mesh", mesh, "--plugin", &libtpu];
        let output = common::tessera(&arguments, folder.path());
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(1) && error.lines().last().unwrap().starts_with(expected), "{error}");
    }
}

#[test]
fn steps_that_do_not_fit_a_tpu_are_told_and_cut_smaller() {
    let name = "steps_that_do_not_fit_a_tpu_are_told_and_cut_smaller";
    let Some(libtpu) = needs::libtpu(name).map(spelled) else { return };
    let folder = common::model(|_| {});
    let arguments = ["compile", "--model", ".", "--target", "v6e:1x1", "--plugin", &libtpu, "--optimize", "O0"];
    let video = ["--step", "decode-whole", "--frames", "1", "--size", "40000x40000"];
    let output = common::tessera(&[&arguments[..], &video, &["--tiling", "off"]].concat(), folder.path());
    let error = text(&output.stderr);
    let last = error.lines().last().unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 2), "{error}");
    assert!(last.contains("does not fit a device of v6e:1x1") && last.contains("exceeds available HBM"), "{error}");
    assert!(last.contains("--tiling"), "{error}");
}
