//! What happens to a process from outside: no room, no memory, a death in the middle, a neighbour
//! at the same file, damaged bytes. None of it may panic, leave half a file, or lose what was
//! there. Input that is merely wrong is in `cli`.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use common::{entries, latents_file, model, random, tessera, text};
use tempfile::TempDir;

const DECODE: [&str; 7] = ["decode", "--model", ".", "--latents", "z.safetensors", "--unscaled", "--output"];

/// A folder with the tiny model and latents of some frames.
fn workplace() -> TempDir {
    let folder = model(|_| {});
    let shape = [1, 4, 5, 8, 12];
    latents_file(folder.path(), "z.safetensors", &shape, &random(5, shape.iter().product()));
    folder
}

/// Runs the binary behind shell commands that limit it.
fn limited(limits: &str, arguments: &[&str], folder: &Path) -> Output {
    let script = format!("{limits}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_tessera")]).args(arguments).current_dir(folder);
    command.output().unwrap()
}

/// The one line in which a run must fail.
fn complaint(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{:?}: {stderr}", output.status);
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    stderr
}

/// As a full disk does, a limit on the length of files fails a write in the middle, if its signal
/// is ignored.
#[test]
fn no_room_for_the_output_leaves_none() {
    let folder = workplace();
    let video = [1, 3, 5, 16, 24];
    latents_file(folder.path(), "video.safetensors", &video, &random(6, video.iter().product()));
    let before = entries(folder.path());
    let without_room = |arguments: &[&str], output: &str| {
        let message = complaint(&limited("trap '' XFSZ; ulimit -f 1", arguments, folder.path()));
        let of_output = [format!("{output}: writing failed: File too large"), "nothing was put at this path".into()];
        // What waits for the end of the run waits on disk.
        let of_spill = ["a temporary file here failed: File too large".into(), "set TMPDIR to another folder".into()];
        let says = |parts: &[String]| parts.iter().all(|part| message.contains(part));
        assert!(says(&of_output) || says(&of_spill), "{message}");
        assert_eq!(entries(folder.path()), before, "{output}");
    };
    for output in ["x.npy", "x.safetensors", "x.y4m", "x.mp4", "x.gif", "frames"] {
        without_room(&[&DECODE[..], &[output]].concat(), output);
    }
    let encode = ["encode", "--model", ".", "--video", "video.safetensors", "--output", "e.safetensors"];
    without_room(&encode, "e.safetensors");
    without_room(&[&["taps"], &DECODE[1..], &["t.safetensors"]].concat(), "t.safetensors");
}

#[test]
fn a_place_that_takes_no_file_is_named() {
    let folder = workplace();
    let message = complaint(&tessera(&[&DECODE[..], &["/proc/x.npy"]].concat(), folder.path()));
    assert!(message.starts_with("error: /proc/x.npy: nothing can be written into the folder `/proc`: "), "{message}");

    // The system's manager may write anywhere.
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_err() {
        for output in ["closed/x.npy", "closed/x.mp4", "closed/frames/"] {
            let message = complaint(&tessera(&[&DECODE[..], &[output]].concat(), folder.path()));
            assert!(
                message.contains("nothing can be written into the folder `closed`: Permission denied"),
                "{message}"
            );
        }
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Address space from too little to enough: a run fails in one line, or gives the whole result.
#[test]
fn too_little_memory_is_told() {
    let folder = workplace();
    let before = entries(folder.path());
    let run = |mebibytes: usize, arguments: &[&str]| {
        limited(&format!("ulimit -v {}", 1024 * mebibytes), arguments, folder.path())
    };
    for mebibytes in [48, 64, 96, 128, 160, 192, 256, 512, 4096] {
        let output = run(mebibytes, &[&DECODE[..], &["x.npy", "--threads", "2"]].concat());
        if output.status.success() {
            fs::remove_file(folder.path().join("x.npy")).unwrap();
        } else {
            assert!(mebibytes < 4096, "4 GiB are enough: {}", text(&output.stderr));
            let message = complaint(&output);
            let expected =
                ["not enough memory", "the memory budget is", "threads cannot be started", "Cannot allocate memory"];
            assert!(expected.iter().any(|part| message.contains(part)), "{mebibytes} MiB: {message}");
        }
        assert_eq!(entries(folder.path()), before, "{mebibytes} MiB");
    }
    // The demo's model takes more: it is told before any work what it needs, and what there is.
    let message = complaint(&run(96, &["decode", "--threads", "2"]));
    assert!(message.contains(" needs ") && message.contains("the memory budget is "), "{message}");
    assert_eq!(entries(folder.path()), before);
}

#[test]
fn what_was_there_outlives_a_killed_process() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("demo.mp4");
    fs::write(&old, "the old result").unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_tessera"));
    demo.args(["decode", "--threads", "1", "--quiet"]).current_dir(folder.path()).stderr(Stdio::null());
    let mut killed = demo.spawn().unwrap();
    // The writer's temporary file: seconds of decoding are to come.
    while entries(folder.path()).len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(fs::read(&old).unwrap(), b"the old result");

    // What it left is removed by the next output beside it, once it is older than a minute.
    let left = entries(folder.path()).into_iter().find(|name| name.starts_with(".tessera-")).unwrap();
    let workplace = workplace();
    let beside = folder.path().join("x.npy");
    let decode = || {
        let decoded = tessera(&[&DECODE[..], &[beside.to_str().unwrap()]].concat(), workplace.path());
        assert_eq!(decoded.status.code(), Some(0), "{}", text(&decoded.stderr));
    };
    decode();
    assert_eq!(entries(folder.path()), [&left, "demo.mp4", "x.npy"], "it is as young as one that is being made");
    let file = fs::File::options().write(true).open(folder.path().join(&left)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(120)).unwrap();
    drop(file);
    decode();
    assert_eq!(entries(folder.path()), ["demo.mp4", "x.npy"]);
}

#[test]
fn two_at_one_file_leave_one_whole() {
    let folder = workplace();
    let run = |output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
        command.args(DECODE).args([output, "--quiet"]).current_dir(folder.path());
        command.spawn().unwrap()
    };
    assert!(run("alone.npy").wait().unwrap().success());
    let both = [run("x.npy"), run("x.npy")];
    both.into_iter().for_each(|mut one| assert!(one.wait().unwrap().success()));
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(read("x.npy") == read("alone.npy"));
    assert_eq!(entries(folder.path()).len(), 5, "{:?}", entries(folder.path()));
}

/// Bytes of a file changed, cut off or put in between: an error in one line, or a run that no one
/// can tell from a good one.
#[test]
fn damaged_files_are_refused_or_read() {
    let folder = workplace();
    let mut seed = 1;
    let mut next = |below: usize| {
        seed += 1;
        ((random(seed, 1)[0] + 1.0) / 2.0 * below as f32) as usize % below
    };
    for name in ["diffusion_pytorch_model.safetensors", "config.json", "z.safetensors"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        // What is in the header counts: behind it are numbers, any of which is as good as another.
        let header = if name == "config.json" {
            whole.len()
        } else {
            8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize
        };
        for round in 0..24 {
            let mut damaged = whole.clone();
            match round % 3 {
                0 => damaged[next(header)] ^= 1 << next(8),
                1 => damaged.truncate(next(whole.len())),
                _ => {
                    let at = next(header);
                    damaged.splice(at..at, (0..next(9) + 1).map(|_| b'0' + next(10) as u8));
                }
            }
            fs::write(&path, damaged).unwrap();
            let output =
                tessera(&[&DECODE[..], &["x.npy", "--quiet", "--memory-budget", "256MiB"]].concat(), folder.path());
            let result = folder.path().join("x.npy");
            match output.status.code() {
                Some(0) => fs::remove_file(&result).unwrap(),
                _ => drop(complaint(&output)),
            }
            assert!(!result.exists(), "{name}, {round}");
        }
        fs::write(&path, whole).unwrap();
    }
}
