//! Every golden case of every model through the command line, as a person would run it: each thing
//! that a case says is an option, what goes in and comes out are files.
//!
//! On the evaluator, on native code of each instruction set that this CPU has, and on the plugin. The
//! activations of cases are compared within the process, in the tests of package `tests`.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Tensor, text, write};
use frontend::{Autoencoder, Half, Medium, TIMESTEP, read_config};
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;
use tessera::{FrameTilingChoice, Precision, RunOptions, TilingChoice};
use tests::golden_run::{as_the_reference, assert_near, half, input, input_shape, models, options_of};
use tests::{Case, Tiles, goldens, targets};

/// One case in one way.
struct Job<'a> {
    case: &'a Case,
    /// The model's folder.
    model: &'a Path,
    what: String,
    /// The files of the input and of the output.
    files: [String; 2],
    /// After the program's name.
    arguments: Vec<String>,
    /// The tensor of the output.
    tensor: &'static str,
}

/// Where a case runs: a name, arguments, variables of the environment.
type Way = (String, Vec<String>, Vec<(&'static str, &'static str)>);

/// Every way to run a step in f32 on this CPU.
fn ways() -> Vec<Way> {
    let backend = |name: &str| vec!["--backend".to_owned(), name.to_owned()];
    let native = targets(Precision::F32).into_iter();
    let native = native.map(|target| {
        let isa = target.isa.name();
        (isa.to_owned(), backend("cpu"), vec![("TESSERA_ISA", isa)])
    });
    let others = [("interpret".to_owned(), backend("interpret"), vec![]), ("cpu".to_owned(), vec![], vec![])];
    others.into_iter().chain(native).collect()
}

/// The options of the command line that say what a case was run by.
fn options(model: &dyn Autoencoder, case: &Case, path: &Path) -> Vec<String> {
    let RunOptions { tiling, overlap, frame_tiling, .. } = options_of(model, case, RunOptions::default());
    let size = |[height, width]: [usize; 2]| format!("{height}x{width}");
    let mut said = vec![];
    let mut say = |option: &str, value: String| said.extend([option.to_owned(), value]);
    match tiling {
        TilingChoice::Auto => {}
        TilingChoice::Off => say("--tiling", "off".into()),
        TilingChoice::Usual => say("--tiling", "default".into()),
        TilingChoice::Size { height, width } => say("--tiling", size([height, width])),
        TilingChoice::Strided { size: of, stride } => {
            say("--tiling", size(of));
            say("--tile-stride", size(stride));
        }
    }
    if let Some(overlap) = overlap {
        say("--tile-overlap", format!("{},{}", overlap.height, overlap.width));
    }
    match frame_tiling {
        FrameTilingChoice::Usual => {}
        FrameTilingChoice::Off => say("--tile-frames", "off".into()),
        FrameTilingChoice::Of(tiles) => say("--tile-frames", format!("{}/{}", tiles.frames, tiles.stride)),
    }
    if let Some(timestep) = case.tensors.get("temb") {
        let timesteps: Vec<String> = timestep.data.iter().map(f32::to_string).collect();
        say(&format!("--{TIMESTEP}"), timesteps.join(","));
    }
    if case.tensors.keys().any(|name| name.starts_with("noise.")) {
        say("--noise", path.to_str().expect("a path in Unicode").to_owned());
    }
    if case.keeps_all_frames() && half(case) == Half::Decoder {
        said.push("--keep-all-frames".into());
    }
    said
}

/// Writes a case's input; the command that runs it, but for where.
fn job<'a>(folder: &Path, model: &'a Path, config: &dyn Autoencoder, case: &'a Case) -> Job<'a> {
    let name = model.file_name().and_then(|name| name.to_str()).expect("a name in Unicode");
    let what = format!("{name}-{}", case.name);
    let files = [format!("{what}.in.safetensors"), format!("{what}.out.safetensors")];
    let mut shape = input_shape(case).to_vec();
    let path = model.join(format!("cases/{}.safetensors", case.name));
    let mut arguments = match half(case) {
        Half::Decoder => vec!["decode", "--latents", &files[0], "--unscaled"],
        Half::Encoder => vec!["encode", "--video", &files[0], "--axes", "bcthw", "--range=-1,1"],
    };
    // Of some encoders nothing is drawn, and so there are no moments.
    let channels = case.tensors["output"].shape[1];
    let tensor = match half(case) {
        Half::Decoder => "sample",
        Half::Encoder if channels == config.channels().latents => "latents",
        Half::Encoder => "parameters",
    };
    match (tensor, config.medium()) {
        ("latents", _) => arguments.push("--unscaled"),
        ("parameters", _) => arguments.push("--moments"),
        (_, Medium::Video) => arguments.extend(["--latents-layout", "bcthw"]),
        (_, Medium::Image) => drop(shape.remove(2)),
    }
    let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    arguments.extend(options(config, case, &path));
    let bytes = input(case).iter().flat_map(|value| value.to_le_bytes()).collect();
    write(&folder.join(&files[0]), &[Tensor { name: "latents".into(), shape, dtype: Dtype::F32, bytes }]);
    Job { case, model, what, files, arguments, tensor }
}

impl Job<'_> {
    /// Runs the program in `folder`; why it is not right, if it is not.
    fn run(&self, way: &Way, folder: &Path) -> Option<String> {
        let (name, how, environment) = way;
        let output = format!("{name}-{}", self.files[1]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
        command.args(&self.arguments).arg("--model").arg(self.model).args(["--quiet", "--threads", "1"]);
        command.args(["--output", &output]).args(how).envs(environment.iter().copied()).current_dir(folder);
        let what = format!("{} on {name}", self.what);
        let run = command.output().expect("the program starts");
        if !run.status.success() || !run.stderr.is_empty() {
            return Some(format!("{what}: {:?}: {}", self.arguments, text(&run.stderr)));
        }
        let bytes = fs::read(folder.join(&output)).expect("the output");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let found = file.tensor(self.tensor).expect("the tensor");
        let found = found.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let found = as_the_reference(self.case, found);
        let near = std::panic::catch_unwind(|| assert_near(&what, &self.case.tensors["output"], &found));
        near.err().map(|_| what)
    }
}

/// Runs cases, those of which `chosen` says so among the cases of a model, in all of `ways`, as many
/// at once as the CPU has threads.
fn check(ways: &[Way], chosen: impl Fn(&[Case]) -> Vec<usize>) {
    let folder: TempDir = tempfile::tempdir().expect("a folder");
    let models: Vec<_> = models().into_iter().map(|name| goldens().join("models").join(name)).collect();
    let cases: Vec<(&Path, Vec<Case>)> = models
        .iter()
        .map(|model| {
            let name = model.file_name().and_then(|name| name.to_str()).expect("a name in Unicode");
            (model.as_path(), Case::all(&format!("models/{name}")))
        })
        .collect();
    let mut jobs = vec![];
    for (model, cases) in &cases {
        let config = fs::read_to_string(model.join("config.json")).expect("a configuration");
        let (config, _) = read_config(&config).expect("a configuration");
        jobs.extend(chosen(cases).into_iter().map(|place| job(folder.path(), model, &*config, &cases[place])));
    }
    assert!(!jobs.is_empty());
    let runs: Vec<(&Job<'_>, &Way)> = jobs.iter().flat_map(|job| ways.iter().map(move |way| (job, way))).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(vec![]));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((job, way)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().expect("no panic").extend(job.run(way, folder.path()));
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {} runs:\n{}", wrong.len(), runs.len(), wrong.join("\n"));
}

#[test]
fn every_case_on_this_cpu() {
    check(&ways(), |cases| (0..cases.len()).collect());
}

/// The plugin, whose compiled programs are kept for this run alone.
fn plugin(cache: &Path) -> Vec<Way> {
    let cache = cache.to_str().expect("a path in Unicode");
    let arguments = ["--backend", "pjrt", "--cache-dir", cache].map(str::to_owned).to_vec();
    vec![("plugin".to_owned(), arguments, vec![])]
}

/// Of each half the smallest case: a plugin takes seconds to compile each step.
#[test]
fn the_smallest_cases_on_the_plugin() {
    if needs::plugin("the_smallest_cases_on_the_plugin").is_none() {
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    check(&plugin(cache.path()), |cases| {
        let smallest = ["decode", "encode"].map(|op| {
            let of_half = (0..cases.len()).filter(|&i| cases[i].op() == op && matches!(cases[i].tiles(), Tiles::Off));
            of_half.min_by_key(|&i| cases[i].tensors["output"].data.len())
        });
        smallest.into_iter().flatten().collect()
    });
}

/// All cases on the plugin, minutes of compiling: `cargo test -p runtime --test golden_cases --
/// --ignored`.
#[test]
#[ignore = "takes minutes"]
fn every_case_on_the_plugin() {
    if needs::plugin("every_case_on_the_plugin").is_none() {
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    check(&plugin(cache.path()), |cases| (0..cases.len()).collect());
}
