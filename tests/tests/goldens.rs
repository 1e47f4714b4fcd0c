//! Every golden case, through the evaluator, through the CPU backend on each instruction set of this machine, and through
//! the PJRT plugin that `TESSERA_PJRT_PLUGIN` names.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Once;

use backend_cpu::isa::Isa;
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use frontend::Taps;
use runtime::latents::Latents;
use runtime::{Backend, Clip, Observer, Overlap, Progress, Result, RunOptions, Tap, TilingChoice, Vae};
use tests::{Case, Tensor, assert_close, demo_model, goldens};

/// Every way to run a step: a name and the options.
fn backends(taps: &Taps) -> Vec<(String, RunOptions)> {
    let of = |backend, isa| RunOptions { backend, isa, threads: Some(2), taps: taps.clone(), ..RunOptions::default() };
    let mut all = vec![("interpret".to_owned(), of(Backend::Interpret, None))];
    all.extend(Isa::supported().into_iter().map(|isa| (isa.to_string(), of(Backend::Cpu, Some(isa)))));
    if PluginSpec::from_env().is_ok() {
        all.push(("pjrt".to_owned(), of(Backend::Pjrt, None)));
    } else {
        static TOLD: Once = Once::new();
        // Past the test harness, which shows nothing of tests that pass.
        TOLD.call_once(|| drop(writeln!(io::stderr(), "SKIPPED goldens on a PJRT plugin: set TESSERA_PJRT_PLUGIN")));
    }
    all
}

/// Compares each activation with the case's `tap.STEP.PATH`.
struct CompareTaps<'a> {
    what: String,
    case: &'a Case,
    compared: usize,
}

impl Observer for CompareTaps<'_> {
    fn progress(&mut self, _progress: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn tap(&mut self, tap: &Tap<'_>) -> Result<()> {
        let name = format!("tap.{}.{}", tap.step, tap.module);
        let expected = &self.case.tensors.get(&name).unwrap_or_else(|| panic!("{}: no {name}", self.what));
        assert_eq!(tap.ty.shape.as_slice(), expected.shape, "{}: {name}", self.what);
        assert_close(&format!("{} {name}", self.what), &expected.data, tap.data);
        self.compared += 1;
        Ok(())
    }
}

fn shape(tensor: &Tensor) -> [usize; 5] {
    tensor.shape.as_slice().try_into().expect("five axes")
}

/// Decodes `latents` and gathers [B, C, T, H, W].
fn decode(vae: &Vae, latents: &Latents, options: &RunOptions, observer: &mut dyn Observer) -> Vec<f32> {
    let shape = vae.decoded_shape(latents).expect("a valid input");
    let plane = shape.height * shape.width;
    let mut video = vec![f32::NAN; shape.batch * shape.channels * shape.frames * plane];
    let mut next = vec![0; shape.batch];
    let mut sink = |sample: usize, block: &runtime::media::FrameBlock<'_>| {
        for (channel, frames) in block.data.chunks_exact(block.frames * plane).enumerate() {
            let start = ((sample * shape.channels + channel) * shape.frames + next[sample]) * plane;
            video[start..start + frames.len()].copy_from_slice(frames);
        }
        next[sample] += block.frames;
        Ok(())
    };
    vae.decode(latents, options, &mut sink, observer).expect("it decodes");
    video
}

/// Runs one case every way.
fn check(vae: &Vae, case: &Case) {
    let (input, output) = (&case.tensors["input"], &case.tensors["output"]);
    let taps = case.tensors.keys().filter(|name| name.starts_with("tap.")).count();
    for (name, mut options) in backends(if taps > 0 { &Taps::All } else { &Taps::None }) {
        if let Some((height, width, overlap)) = case.tiling() {
            options.tiling = TilingChoice::Size { height, width };
            options.overlap = Overlap { height: overlap[0], width: overlap[1] };
        }
        let what = format!("{} on {name}", case.name);
        let mut observer = CompareTaps { what: what.clone(), case, compared: 0 };
        let (data, shape) = (input.data.clone(), shape(input));
        let found = match case.op() {
            "decode" => decode(vae, &Latents { data, shape }, &options, &mut observer),
            _ => vae.encode(&Clip { data, shape }, &options, &mut observer).expect("it encodes").0.data,
        };
        assert_close(&what, &output.data, &found);
        assert_eq!(observer.compared, taps, "{what}: every tap is compared");
    }
}

fn check_all(checkpoint: &str) {
    let vae = Vae::open(&goldens().join(checkpoint)).expect("the checkpoint opens");
    let cases = Case::all(checkpoint);
    assert!(!cases.is_empty());
    cases.iter().for_each(|case| check(&vae, case));
}

#[test]
fn two_level() {
    check_all("two-level");
}

#[test]
fn four_level() {
    check_all("four-level");
}

#[test]
fn trained_model_decodes_a_real_clip() {
    let vae = Vae::open(&demo_model()).expect("the checkpoint opens");
    let case = Case::read(&goldens().join("trained/cases/decode-bunny.safetensors"));
    let (input, output) = (&case.tensors["input"], &case.tensors["output"]);
    let frames: Vec<usize> = serde_json::from_value(case.metadata["frames"].clone()).expect("a list of frames");
    let latents = Latents { data: input.data.clone(), shape: shape(input) };
    let total = vae.decoded_shape(&latents).expect("a valid input").frames;
    // The evaluator takes minutes for a clip of this size: its cases are the smaller ones.
    for (name, options) in backends(&Taps::None).into_iter().filter(|(_, o)| o.backend != Backend::Interpret) {
        let video = decode(&vae, &latents, &options, &mut ());
        let plane = output.shape[3] * output.shape[4];
        let picked: Vec<f32> = (0..output.shape[1])
            .flat_map(|channel| frames.iter().map(move |frame| (channel * total + frame) * plane))
            .flat_map(|start| video[start..start + plane].iter().copied())
            .collect();
        assert_close(&format!("{} on {name}", case.name), &output.data, &picked);
    }
}

#[test]
fn trained_model_encodes_a_real_clip() {
    let vae = Vae::open(&demo_model()).expect("the checkpoint opens");
    let case = Case::read(&goldens().join("trained/cases/encode-bunny.safetensors"));
    let pictures = &case.tensors["frames"];
    let [frames, height, width, channels] = pictures.shape[..] else { panic!("four axes") };
    // [T, H, W, C] to [1, C, T, H, W].
    let data = (0..channels).flat_map(|c| pictures.data.iter().skip(c).step_by(channels).copied()).collect();
    let clip = Clip { data, shape: [1, channels, frames, height, width] };
    for (name, options) in backends(&Taps::None).into_iter().filter(|(_, o)| o.backend != Backend::Interpret) {
        let (moments, _) = vae.encode(&clip, &options, &mut ()).expect("it encodes");
        assert_close(&format!("{} on {name}", case.name), &case.tensors["output"].data, &moments.data);
    }
}
