//! Where outputs go: never onto what is read or onto each other; behind links; into pipes, standard
//! output and devices, frame by frame; and what is left of them when a signal comes. Also clips
//! that are read from pipes.
#![cfg(unix)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    SIGNALS, Tensor, entries, hearing, latents_file, model, printed, random, refused, signal_mask, tensors, tessera,
    text, write,
};
use serde_json::Value;
use tempfile::TempDir;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const DECODE: [&str; 6] = ["decode", "--model", ".", "--latents", "z.safetensors", "--unscaled"];
/// What no process here takes.
const LONG: Duration = Duration::from_secs(60);

/// A folder with the tiny model and `z.safetensors`: latents of two frames of so many pixels.
fn workplace_of(height: usize, width: usize) -> TempDir {
    let folder = model(|_| {});
    let shape = [1, 4, 2, height / 2, width / 2];
    latents_file(folder.path(), "z.safetensors", &shape, &random(5, shape.iter().product()));
    folder
}

fn workplace() -> TempDir {
    workplace_of(4, 6)
}

/// With a clip of them too: `clip.y4m`, and `frames`, a folder of PNGs.
fn with_clips() -> TempDir {
    let folder = workplace_of(16, 24);
    for output in ["clip.y4m", "frames"] {
        printed(&[&DECODE[..], &["--quiet", "--output", output]].concat(), folder.path());
    }
    folder
}

/// Every file below a folder, with what is in it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match fs::metadata(&path).unwrap() {
            kind if kind.is_dir() => found.extend(contents(&path)),
            kind if kind.is_file() => found.push((path.clone(), fs::read(path).unwrap())),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The binary behind a shell that redirects, in a folder.
fn shell(script: &str, arguments: &[&str], folder: &Path) -> Output {
    let script = script.replace("tessera", "\"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_tessera")]).args(arguments).current_dir(folder);
    command.output().unwrap()
}

fn spawn(arguments: &[&str], folder: &Path) -> Child {
    let mut command = hearing(env!("CARGO_BIN_EXE_tessera"));
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn pipe(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn send(signal: &str, to: &Child) {
    assert!(Command::new("kill").args([signal, &to.id().to_string()]).status().unwrap().success());
}

/// What a process comes to, that must not take long.
fn end(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > LONG {
            child.kill().unwrap();
            panic!("it hangs");
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn what_is_read_is_never_written() {
    let folder = with_clips();
    let path = folder.path();
    for (link, to) in [("hard", "z"), ("hard-weights", "diffusion_pytorch_model")] {
        fs::hard_link(path.join(format!("{to}.safetensors")), path.join(format!("{link}.safetensors"))).unwrap();
    }
    symlink("z.safetensors", path.join("soft.safetensors")).unwrap();
    symlink("clip.y4m", path.join("soft.y4m")).unwrap();
    symlink("frames", path.join("link")).unwrap();
    fs::copy(path.join("frames/frame-00000.png"), path.join("compared.png")).unwrap();
    fs::copy(path.join("config.json"), path.join("config.svg")).unwrap();
    let before = contents(path);
    let refuses = |arguments: &[&str], expected: &[&str]| {
        refused(path, arguments, expected);
        assert!(contents(path) == before, "{arguments:?}");
    };
    for output in
        ["z.safetensors", "./z.safetensors", "frames/../z.safetensors", "hard.safetensors", "soft.safetensors"]
    {
        let expected =
            [&format!("error: {output}: this run reads the latents from here (`z.safetensors`)"), "is not written"];
        refuses(&[&DECODE[..], &["--output", output]].concat(), &expected);
        let named = ["decode", "--model", ".", "--latents", "z.safetensors#latents", "--unscaled", "--output", output];
        refuses(&named, &expected);
    }
    let of_model = "this run reads the model from here (`./diffusion_pytorch_model.safetensors`)";
    refuses(&[&DECODE[..], &["--output", WEIGHTS]].concat(), &[of_model]);
    refuses(&["encode", "--model", ".", "--video", "clip.y4m", "--output", "hard-weights.safetensors"], &[of_model]);
    let trace = |file: &str, expected: &str| {
        refuses(&[&DECODE[..], &["--output", "x.npy", "--trace", file]].concat(), &[expected, "the timeline"]);
    };
    trace("config.json", "this run reads the model from here (`./config.json`)");
    trace("soft.safetensors", "this run reads the latents from here");
    trace("x.npy", "would be the same file");
    trace("./frames/../x.npy", "would be the same file");

    let roundtrip = |video: &str, output: &str, expected: &[&str]| {
        refuses(&["roundtrip", "--model", ".", "--video", video, "--output", output], expected);
    };
    roundtrip("clip.y4m", "clip.y4m", &["clip.y4m: this run reads the video from here (`clip.y4m`)"]);
    roundtrip(
        "clip.y4m",
        "soft.y4m",
        &["soft.y4m: this run reads the video from here (`clip.y4m`)", "place for the clip"],
    );
    roundtrip("soft.y4m", "clip.y4m", &["clip.y4m: this run reads the video from here (`soft.y4m`)"]);
    roundtrip(
        "compared.png",
        "compared.y4m",
        &["compared.png: this run reads the video", "place for the contact sheet"],
    );
    roundtrip("frames", "frames/", &["this run reads the video from here"]);
    roundtrip("frames", "link", &["link: this run reads the video from here (`frames`)"]);
    roundtrip(
        "frames/frame-00001.png",
        "frames",
        &["this folder is to be replaced, and this run reads the video from it"],
    );
    roundtrip("frames", ".", &[".: this folder is to be replaced, and this run reads the model from it"]);

    refuses(
        &[&["taps"], &DECODE[1..], &["--output", "z.safetensors"]].concat(),
        &["this run reads the latents from here"],
    );
    let verify = [&["verify"], &DECODE[1..]].concat();
    refuses(&[&verify[..], &["--plot", "x.svg", "--trace", "x.svg"]].concat(), &["the timeline", "the picture"]);
    refuses(
        &[&verify[..], &["--config", "config.svg", "--plot", "config.svg"]].concat(),
        &["this run reads the model from here"],
    );
    let bench = ["bench", "--random-weights", "--config", "config.svg", "--plot", "config.svg"];
    refuses(&bench, &["config.svg: this run reads the configuration from here (`config.svg`)"]);
    let compile = ["compile", "--model", ".", "--target", "v6e:1x1", "--output", "."];
    refuses(&compile, &[".: this folder is to be replaced, and this run reads the model from it"]);
    printed(&["taps", "--model", ".", "--quiet", "--output", "taps.safetensors"], path);
    let taps = fs::read(path.join("taps.safetensors")).unwrap();
    refused(
        path,
        &["verify", "--model", ".", "--against", "taps.safetensors", "--trace", "taps.safetensors"],
        &["taps.safetensors: this run reads the file of activations from here"],
    );
    assert!(fs::read(path.join("taps.safetensors")).unwrap() == taps);
}

#[test]
fn shards_and_their_index_are_read_too() {
    let folder = workplace();
    let path = folder.path();
    let (first, second): (Vec<Tensor>, Vec<Tensor>) =
        tensors().into_iter().partition(|tensor| tensor.name.starts_with("decoder."));
    let map: serde_json::Map<_, _> = [("a.safetensors", &first), ("b.safetensors", &second)]
        .into_iter()
        .flat_map(|(file, tensors)| tensors.iter().map(move |tensor| (tensor.name.clone(), file.into())))
        .collect();
    write(&path.join("a.safetensors"), &first);
    write(&path.join("b.safetensors"), &second);
    let index = format!("{WEIGHTS}.index.json");
    fs::write(path.join(&index), serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    fs::remove_file(path.join(WEIGHTS)).unwrap();
    for file in ["a.safetensors", "b.safetensors", &index, "config.json"] {
        let trace = [&DECODE[..], &["--output", "x.npy", "--trace", file]].concat();
        refused(path, &trace, &[&format!("{file}: this run reads the model from here (`./{file}`)")]);
    }
    // The encoder's shard is read as well, though decoding needs none of it.
    refused(path, &[&DECODE[..], &["--output", "b.safetensors"]].concat(), &["this run reads the model from here"]);
}

/// Files that the shell opens for standard input and output are files of the run as well.
#[test]
fn redirected_files_are_told_apart() {
    let folder = with_clips();
    let before = contents(folder.path());
    let refuses = |script: &str, arguments: &[&str], expected: &str| {
        let output = shell(script, arguments, folder.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 1, "{stderr}");
        assert!(contents(folder.path()) == before, "{script} {arguments:?}");
    };
    let roundtrip = ["roundtrip", "--model", ".", "--video", "-", "--output", "clip.y4m"];
    refuses("tessera < clip.y4m", &roundtrip, "clip.y4m: this run reads the video from here (`/dev/stdin`)");
    refuses("tessera >> z.safetensors", &[&DECODE[..], &["--output", "x.npy"]].concat(), "standard output");
    refuses("tessera >> config.json", &[&DECODE[..], &["--output", "-"]].concat(), "the model");
}

#[test]
fn a_link_is_followed_and_stays() {
    let folder = workplace();
    let path = folder.path();
    fs::create_dir_all(path.join("there/old")).unwrap();
    fs::write(path.join("there/frame.y4m"), "an old one").unwrap();
    fs::write(path.join("there/old/frame-00009.png"), "an old one").unwrap();
    let links = [
        ("link.y4m", "there/frame.y4m"),
        ("chain.y4m", "link.y4m"),
        ("new.npy", "there/new.npy"),
        ("latest", "there/latest.npy"),
        ("folder", "there/old"),
        ("frames", "there/frames"),
    ];
    links.iter().for_each(|(link, to)| symlink(to, path.join(link)).unwrap());
    let decode = |output: &str| {
        let told = printed(&[&DECODE[..], &["--json", "--output", output]].concat(), path);
        serde_json::from_str::<Value>(&told).unwrap()["output"].clone()
    };
    assert_eq!(decode("chain.y4m"), "chain.y4m");
    assert!(fs::read(path.join("there/frame.y4m")).unwrap().starts_with(b"YUV4MPEG2"));
    for output in ["new.npy", "latest", "folder", "frames"] {
        assert_eq!(decode(output), output);
    }
    assert!(fs::read(path.join("there/latest.npy")).unwrap() == fs::read(path.join("there/new.npy")).unwrap());
    assert_eq!(
        entries(&path.join("there/frames")),
        ["frame-00000.png", "frame-00001.png", "frame-00002.png", "frame-00003.png"]
    );
    assert_eq!(entries(&path.join("there/old")), entries(&path.join("there/frames")));
    assert_eq!(entries(&path.join("there")), ["frame.y4m", "frames", "latest.npy", "new.npy", "old"]);
    links.iter().for_each(|(link, to)| assert_eq!(fs::read_link(path.join(link)).unwrap(), Path::new(to)));

    symlink("nowhere/x.npy", path.join("lost.npy")).unwrap();
    symlink("circle.npy", path.join("circle.npy")).unwrap();
    let refuses = |output: &str, expected: &str| {
        refused(path, &[&DECODE[..], &["--output", output]].concat(), &[&format!("error: {output}: "), expected]);
    };
    refuses("lost.npy", "there is no folder `nowhere`");
    refuses("circle.npy", "symbolic links");
}

/// The null device takes every output, and is still itself.
#[test]
fn the_null_device_takes_all() {
    let folder = with_clips();
    let path = folder.path();
    let before = contents(path);
    let null = "/dev/null";
    let summary = printed(&[&DECODE[..], &["--output", null, "--trace", null]].concat(), path);
    assert!(summary.contains("written"), "{summary}");
    let report = printed(&["roundtrip", "--model", ".", "--video", "clip.y4m", "--output", null, "--json"], path);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!([&report["output"], &report["contact_sheet"]], [&Value::from(null), &Value::Null]);
    printed(&["encode", "--model", ".", "--video", "clip.y4m", "--output", null], path);
    printed(&["taps", "--model", ".", "--output", null], path);
    printed(&["verify", "--model", ".", "--plot", null, "--trace", null], path);
    assert!(fs::metadata(null).unwrap().file_type().is_char_device());
    assert!(contents(path) == before);
    let full = tessera(&[&DECODE[..], &["--output", "/dev/full"]].concat(), path);
    let complaint =
        "error: /dev/full: writing failed: No space left on device (os error 28); the frames before are written\n";
    if cfg!(target_os = "linux") {
        assert_eq!((full.status.code(), text(&full.stderr).as_str()), (Some(1), complaint));
    }
}

#[test]
fn a_clip_goes_to_standard_output_as_it_is_made() {
    let folder = with_clips();
    let path = folder.path();
    let whole = fs::read(path.join("clip.y4m")).unwrap();
    for output in ["-", "/dev/stdout"] {
        let decoded = tessera(&[&DECODE[..], &["--output", output]].concat(), path);
        assert_eq!(decoded.status.code(), Some(0), "{}", text(&decoded.stderr));
        assert!(decoded.stdout == whole, "{output}");
        assert!(text(&decoded.stderr).contains("written"), "the summary");
        let quiet = tessera(&[&DECODE[..], &["--output", output, "--quiet"]].concat(), path);
        assert_eq!((quiet.stdout == whole, text(&quiet.stderr)), (true, String::new()));
    }
    // The file that standard output goes to, by its own name.
    let into = shell("tessera > clip2.y4m", &[&DECODE[..], &["--output", "clip2.y4m"]].concat(), path);
    assert!(into.status.success() && fs::read(path.join("clip2.y4m")).unwrap() == whole);
    fs::remove_file(path.join("clip2.y4m")).unwrap();

    let json = tessera(&[&DECODE[..], &["--output", "-", "--json"]].concat(), path);
    assert_eq!(json.status.code(), Some(2));
    assert!(text(&json.stderr).contains("--json prints to standard output, and the clip goes there"));
    refused(path, &["encode", "--model", ".", "--video", "clip.y4m", "--output", "-"], &["the latents is no stream"]);
    refused(
        path,
        &[&DECODE[..], &["--output", "x.npy", "--trace", "-"]].concat(),
        &["the timeline is no stream", "./-"],
    );
    latents_file(path, "two.safetensors", &[2, 4, 1, 2, 2], &random(5, 32));
    let two = ["decode", "--model", ".", "--latents", "two.safetensors", "--unscaled", "--output", "-"];
    refused(path, &two, &["-: a stream takes one clip, and this batch makes 2"]);
}

#[test]
fn a_reader_of_a_clip_that_goes_away_ends_it() {
    let folder = workplace();
    let mut decode = spawn(&[&DECODE[..], &["--output", "-"]].concat(), folder.path());
    drop(decode.stdout.take());
    let output = end(decode);
    let note = "note: -: its reader is gone, and the rest of the clip was left out\n";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), note));
}

#[test]
fn a_named_pipe_takes_a_clip_and_gives_one() {
    let folder = with_clips();
    let path = folder.path();
    let whole = fs::read(path.join("clip.y4m")).unwrap();
    let to = pipe(path, "pipe.y4m");
    let decode = spawn(&[&DECODE[..], &["--output", "pipe.y4m", "--json"]].concat(), path);
    assert!(fs::read(&to).unwrap() == whole);
    let decoded = end(decode);
    assert_eq!(decoded.status.code(), Some(0));
    assert_eq!(serde_json::from_slice::<Value>(&decoded.stdout).unwrap()["output"], "pipe.y4m");
    assert!(fs::metadata(&to).unwrap().file_type().is_fifo());

    let encode = |video: &str, output: &str| {
        let arguments = ["encode", "--model", ".", "--video", video, "--moments", "--quiet", "--output", output];
        Command::new(env!("CARGO_BIN_EXE_tessera"))
            .args(arguments)
            .current_dir(path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    };
    assert!(encode("clip.y4m", "file.safetensors").wait().unwrap().success());
    let through_pipe = encode("pipe.y4m", "pipe.safetensors");
    fs::write(&to, &whole).unwrap();
    assert!(end(through_pipe).status.success());
    let mut through_stdin = encode("-", "stdin.safetensors");
    through_stdin.stdin.take().unwrap().write_all(&whole).unwrap();
    assert!(end(through_stdin).status.success());
    let read = |name: &str| fs::read(path.join(name)).unwrap();
    assert!(
        read("pipe.safetensors") == read("file.safetensors") && read("stdin.safetensors") == read("file.safetensors")
    );

    // Through both at once, and no more than was asked for of what never ends.
    let roundtrip = ["roundtrip", "--model", ".", "--video", "-", "--frames", "4", "--output", "-"];
    let mut both = Command::new(env!("CARGO_BIN_EXE_tessera"));
    let both = both.args(roundtrip).current_dir(path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut both = both.stderr(Stdio::piped()).spawn().unwrap();
    let mut endless = both.stdin.take().unwrap();
    endless.write_all(&whole).unwrap();
    let output = end(both);
    drop(endless);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.starts_with(b"YUV4MPEG2 W56 H16 ") && text(&output.stderr).contains("PSNR"));

    pipe(path, "pipe.mp4");
    let mp4 = [&DECODE[..], &["--output", "pipe.mp4"]].concat();
    refused(path, &mp4, &["pipe.mp4: .mp4 cannot be streamed", "y4m"]);
    let latents = ["encode", "--model", ".", "--video", "clip.y4m", "--output", "pipe.safetensors.fifo"];
    pipe(path, "pipe.safetensors.fifo");
    refused(path, &latents, &["not an output format"]);
    let trace = [&DECODE[..], &["--output", "x.npy", "--trace", "pipe.mp4"]].concat();
    refused(path, &trace, &["pipe.mp4: this is a pipe or a device", "appears in its place whole"]);
}

#[test]
fn what_a_stream_brings_is_called_by_its_name() {
    let folder = workplace();
    let path = folder.path();
    printed(&[&DECODE[..], &["--quiet", "--output", "clip.mp4"]].concat(), path);
    let refuses = |from: &str, expected: &str| {
        let encode = ["encode", "--model", ".", "--video", "-", "--output", "e.safetensors"];
        let output = shell(&format!("tessera < {from}"), &encode, path);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        assert!(stderr.starts_with("error: -: ") && stderr.contains(expected), "{stderr}");
        assert!(!path.join("e.safetensors").exists());
    };
    refuses("clip.mp4", "a clip is streamed as y4m (YUV4MPEG2), and it is MP4 or QuickTime; name a file");
    refuses("z.safetensors", "it is safetensors");
    refuses("config.json", "it is JSON");
    refuses("/dev/null", "nothing came through it");
    let null = ["encode", "--model", ".", "--video", "/dev/null", "--output", "e.safetensors"];
    refused(path, &null, &["/dev/null: not a usable clip: nothing came through it"]);
}

/// Who waits for a reader, or for one that does not read, still hears a signal.
#[test]
fn a_signal_ends_the_run_with_its_own_code() {
    let folder = workplace_of(128, 128);
    let path = folder.path();
    let at = pipe(path, "pipe");
    let before = entries(path);
    let decode = [&DECODE[..], &["--output", "pipe", "--quiet"]].concat();
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let waiting = spawn(&decode, path);
        until_it_listens(&waiting);
        send(signal, &waiting);
        let output = end(waiting);
        let message = "error: interrupted; nothing was written\n";
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(code), message), "{signal}");

        let stalled = spawn(&decode, path);
        let mut reader = fs::File::open(&at).unwrap();
        reader.read_exact(&mut [0; 100]).unwrap();
        send(signal, &stalled);
        let output = end(stalled);
        let message = "error: pipe: writing failed: interrupted; the frames before are written\n";
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(code), message), "{signal}");
        assert_eq!(entries(path), before);
    }
    // And who waits for a writer.
    let waiting = spawn(&["encode", "--model", ".", "--video", "pipe", "--output", "e.safetensors"], path);
    until_it_listens(&waiting);
    send("-TERM", &waiting);
    assert_eq!(end(waiting).status.code(), Some(143));
    assert_eq!(entries(path), before);
}

/// As under `nohup`, and behind `&` in a shell without job control.
#[test]
#[cfg(target_os = "linux")]
fn signals_that_were_ignored_stay_ignored() {
    let folder = workplace();
    let path = folder.path();
    let at = pipe(path, "pipe");
    let run = |ignored: &str| {
        let mut command = hearing("sh");
        let script = format!("trap '' {ignored}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tessera")]).args(DECODE).args(["--output", "pipe", "--quiet"]);
        command.current_dir(path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let ignoring = run("HUP INT TERM");
    until_it_listens(&ignoring);
    ["-HUP", "-INT", "-TERM"].iter().for_each(|signal| send(signal, &ignoring));
    thread::sleep(Duration::from_millis(200));
    let clip = fs::read(&at).unwrap();
    let output = end(ignoring);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(clip.starts_with(b"YUV4MPEG2"));
    // One of them alone: the others are heard.
    let one = run("HUP");
    until_it_listens(&one);
    send("-HUP", &one);
    thread::sleep(Duration::from_millis(200));
    send("-INT", &one);
    assert_eq!(end(one).status.code(), Some(130));
}

/// Waits until a process has its handlers, and has opened what it reads: it is then at a pipe that
/// nobody else has opened.
fn until_it_listens(child: &Child) {
    if !cfg!(target_os = "linux") {
        return thread::sleep(Duration::from_secs(2));
    }
    let started = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let taken = signal_mask(&status, "SigCgt:") | signal_mask(&status, "SigIgn:");
        if status.starts_with("Name:\ttessera") && taken & SIGNALS == SIGNALS {
            return;
        }
        assert!(started.elapsed() < LONG, "{status}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Paths are what the system has them be; in JSON, which is Unicode, what is none is replaced.
#[test]
#[cfg(target_os = "linux")]
fn paths_need_not_be_unicode() {
    let name = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(name(b"caf\xe9"));
    let folder = with_clips();
    fs::create_dir(&path).unwrap();
    for file in ["config.json", WEIGHTS] {
        fs::copy(folder.path().join(file), path.join(file)).unwrap();
    }
    fs::copy(folder.path().join("z.safetensors"), path.join(name(b"z\xff.safetensors"))).unwrap();
    fs::copy(folder.path().join("clip.y4m"), path.join(name(b"clip\xff.y4m"))).unwrap();
    fs::create_dir(path.join(name(b"frames\xff"))).unwrap();
    fs::copy(folder.path().join("frames/frame-00000.png"), path.join(name(b"frames\xff/\xfe.png"))).unwrap();
    // Arguments with spaces between them.
    let run = |arguments: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
        command.args(arguments.split(|byte| *byte == b' ').map(name)).current_dir(root.path());
        let output = command.output().unwrap();
        let told = text(&output.stderr);
        assert_eq!((output.status.code(), told), (Some(0), String::new()), "{}", arguments.escape_ascii());
        text(&output.stdout)
    };
    let latents = b" --model caf\xe9 --latents caf\xe9/z\xff.safetensors#latents --unscaled";
    for ending in [".mp4", ".gif", ".y4m", ".npy", ".safetensors", ""] {
        let output = [b"x\xff", ending.as_bytes()].concat();
        let told = run(&[b"decode --json --output ", &output[..], latents].concat());
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["output"], format!("x\u{fffd}{ending}"));
        assert!(root.path().join(name(&output)).exists());
    }
    for video in [&b"caf\xe9/clip\xff.y4m"[..], b"caf\xe9/frames\xff"] {
        let config = b" --model caf\xe9 --config caf\xe9/config.json --output e\xff.safetensors";
        run(&[b"encode --video ", video, config].concat());
        run(&[b"roundtrip --video ", video, b" --model caf\xe9 --output r\xff.y4m --quiet"].concat());
    }
    assert!(root.path().join(name(b"r\xff.png")).exists());
    run(&[b"taps --output t\xff.safetensors", &latents[..]].concat());
    let verify = b"verify --json --model caf\xe9 --against t\xff.safetensors --plot p\xff.svg --trace t\xff.json";
    let told: Value = serde_json::from_str(&run(verify)).unwrap();
    assert_eq!([&told["model"], &told["against"]], ["caf\u{fffd}", "t\u{fffd}.safetensors"]);
    run(b"info --model caf\xe9");
    run(b"emit --model caf\xe9 --step decode-next");
    run(b"bench --model caf\xe9 --repeats 1 --frames 2 --height 2 --width 2");
    let plugin =
        Command::new(env!("CARGO_BIN_EXE_tessera")).args(["plugin", "list"]).arg(name(b"p\xff.so")).output().unwrap();
    let complaint = String::from_utf8_lossy(&plugin.stderr);
    assert!(plugin.status.code() == Some(1) && complaint.contains("p\u{fffd}.so: "), "{complaint}");
    assert!(complaint.contains("No such file"), "{complaint}");
}
