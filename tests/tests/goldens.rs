//! Every golden case, through the evaluator and through the CPU backend on each instruction set of
//! this machine; and in bf16, where PyTorch's own bf16 is the measure. Some of them, or all if
//! ignored tests are asked for, on the PJRT plugin that `TESSERA_PJRT_PLUGIN` names.

use std::ops::ControlFlow;

use frontend::Taps;
use tessera::latents::Latents;
use tessera::{Backend, Observer, Overlap, Precision, Progress, Result, RunOptions, Tap, TilingChoice, Vae, Video};
use tests::{Case, Tensor, assert_close, demo_model, errors, goldens, targets};

/// Every way to run a step: a name and the options.
fn backends(taps: &Taps, precision: Precision) -> Vec<(String, RunOptions)> {
    let of = |backend| {
        RunOptions::default().with_backend(backend).with_precision(precision).with_threads(2).with_taps(taps.clone())
    };
    let mut all = vec![("interpret".to_owned(), of(Backend::Interpret))];
    all.extend(targets(precision).into_iter().map(|target| (target.to_string(), of(Backend::Cpu).with_target(target))));
    all
}

/// The ways in native code, in both precisions.
fn native() -> Vec<(String, RunOptions)> {
    let all = Precision::ALL.into_iter().flat_map(|precision| backends(&Taps::None, precision));
    all.filter(|(_, options)| options.backend == Backend::Cpu).collect()
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

/// Decodes to [B, C, T, H, W].
fn decode(vae: &Vae, latents: &Latents, options: &RunOptions, observer: &mut dyn Observer) -> Vec<f32> {
    vae.decode_to_memory(latents, options, observer).expect("it decodes").0.data
}

/// Runs a case, in its tiles if it has any.
fn run(vae: &Vae, case: &Case, mut options: RunOptions, observer: &mut dyn Observer) -> Vec<f32> {
    if let Some((height, width, overlap)) = case.tiling() {
        options.tiling = TilingChoice::Size { height, width };
        options.overlap = Some(Overlap { height: overlap[0], width: overlap[1] });
    }
    let input = &case.tensors["input"];
    let (data, shape) = (input.data.clone(), shape(input));
    match case.op() {
        "decode" => decode(vae, &Latents { data, shape }, &options, observer),
        _ => vae.encode(&Video { data, shape }, &options, observer).expect("it encodes").0.data,
    }
}

/// Runs one case every way.
fn check(vae: &Vae, case: &Case) {
    let output = &case.tensors["output"];
    let taps = case.tensors.keys().filter(|name| name.starts_with("tap.")).count();
    for (name, options) in backends(if taps > 0 { &Taps::All } else { &Taps::None }, Precision::F32) {
        let what = format!("{} on {name}", case.name);
        let mut observer = CompareTaps { what: what.clone(), case, compared: 0 };
        let found = run(vae, case, options, &mut observer);
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

/// The mean and the maximum of the error that PyTorch's own bf16 makes of each case: model and
/// input converted to bf16 (PyTorch 2.15, one thread), against the case's output, which is
/// PyTorch's in f32.
const PYTORCH_BF16: [(&str, &str, f64, f64); 18] = [
    ("two-level", "decode-1-frame", 1.79e-3, 1.87e-2),
    ("two-level", "decode-2-frames", 1.72e-3, 1.56e-2),
    ("two-level", "decode-3-frames-taps", 2.11e-3, 2.52e-2),
    ("two-level", "decode-5-frames", 2.12e-3, 2.02e-2),
    ("two-level", "encode-1-frame", 2.68e-3, 1.45e-2),
    ("two-level", "encode-4-frames", 2.78e-3, 1.30e-2),
    ("two-level", "encode-9-frames-taps", 2.79e-3, 1.77e-2),
    ("four-level", "decode-1-frame", 2.01e-3, 1.69e-2),
    ("four-level", "decode-3-frames", 1.72e-3, 2.20e-2),
    ("four-level", "decode-3-frames-tiled", 1.76e-3, 2.55e-2),
    ("four-level", "decode-4-frames", 1.93e-3, 4.06e-2),
    ("four-level", "decode-7-frames-batch-2", 1.82e-3, 2.75e-2),
    ("four-level", "encode-17-frames", 3.80e-3, 2.01e-2),
    ("four-level", "encode-8-frames-ragged", 4.76e-3, 2.05e-2),
    ("four-level", "encode-9-frames", 4.67e-3, 2.35e-2),
    ("four-level", "encode-9-frames-tiled", 4.30e-3, 2.71e-2),
    ("trained", "decode-bunny", 1.09e-3, 1.27e-2),
    ("trained", "encode-bunny", 1.25e-2, 1.26e-1),
];

/// Checks what bf16 made of a case. The maximum, one element's, is left some chance.
fn assert_bf16(checkpoint: &str, case: &Case, way: &str, expected: &[f32], found: &[f32]) {
    let bound = PYTORCH_BF16.iter().find(|(c, name, ..)| (*c, *name) == (checkpoint, case.name.as_str()));
    let &(_, name, mean_bound, maximum_bound) = bound.unwrap_or_else(|| panic!("no bound for {}", case.name));
    let (mean, maximum) = errors(expected, found);
    assert!(
        mean <= mean_bound && maximum <= 1.5 * maximum_bound,
        "{checkpoint} {name} in bf16 on {way}: mean error {mean:.2e}, maximum {maximum:.2e}; PyTorch's are \
         {mean_bound:.2e} and {maximum_bound:.2e}"
    );
    println!("{checkpoint} {name} in bf16 on {way}: mean error {mean:.2e}, maximum {maximum:.2e}");
}

#[test]
fn bf16_errs_no_more_than_pytorch() {
    for checkpoint in ["two-level", "four-level"] {
        let vae = Vae::open(&goldens().join(checkpoint)).expect("the checkpoint opens");
        for case in Case::all(checkpoint) {
            for (way, options) in backends(&Taps::None, Precision::Bf16) {
                if options.backend == Backend::Interpret && checkpoint != "two-level" {
                    continue;
                }
                let found = run(&vae, &case, options.clone(), &mut ());
                assert_bf16(checkpoint, &case, &way, &case.tensors["output"].data, &found);
                let alone = options.with_threads(1);
                assert!(found == run(&vae, &case, alone, &mut ()), "{way}: one thread gives other bits than two");
            }
        }
    }
}

#[test]
fn trained_model_decodes_a_real_clip() {
    decode_a_real_clip(native());
}

fn decode_a_real_clip(ways: Vec<(String, RunOptions)>) {
    let vae = Vae::open(&demo_model()).expect("the checkpoint opens");
    let case = Case::read(&goldens().join("trained/cases/decode-bunny.safetensors"));
    let (input, output) = (&case.tensors["input"], &case.tensors["output"]);
    let frames: Vec<usize> = serde_json::from_value(case.metadata["frames"].clone()).expect("a list of frames");
    let latents = Latents { data: input.data.clone(), shape: shape(input) };
    let total = vae.decoded_shape(&latents, &RunOptions::default()).expect("a valid input").frames;
    // The evaluator takes minutes for a clip of this size: its cases are the smaller ones.
    for (name, options) in ways {
        let video = decode(&vae, &latents, &options, &mut ());
        let plane = output.shape[3] * output.shape[4];
        let picked: Vec<f32> = (0..output.shape[1])
            .flat_map(|channel| frames.iter().map(move |frame| (channel * total + frame) * plane))
            .flat_map(|start| video[start..start + plane].iter().copied())
            .collect();
        match options.precision {
            Precision::F32 => assert_close(&format!("{} on {name}", case.name), &output.data, &picked),
            Precision::Bf16 => assert_bf16("trained", &case, &name, &output.data, &picked),
        }
    }
}

#[test]
fn trained_model_encodes_a_real_clip() {
    encode_a_real_clip(native());
}

fn encode_a_real_clip(ways: Vec<(String, RunOptions)>) {
    let vae = Vae::open(&demo_model()).expect("the checkpoint opens");
    let case = Case::read(&goldens().join("trained/cases/encode-bunny.safetensors"));
    let pictures = &case.tensors["frames"];
    let [frames, height, width, channels] = pictures.shape[..] else { panic!("four axes") };
    // [T, H, W, C] to [1, C, T, H, W].
    let data = (0..channels).flat_map(|c| pictures.data.iter().skip(c).step_by(channels).copied()).collect();
    let clip = Video { data, shape: [1, channels, frames, height, width] };
    for (name, options) in ways {
        let (moments, _) = vae.encode(&clip, &options, &mut ()).expect("it encodes");
        let output = &case.tensors["output"].data;
        match options.precision {
            Precision::F32 => assert_close(&format!("{} on {name}", case.name), output, &moments.data),
            Precision::Bf16 => assert_bf16("trained", &case, &name, output, &moments.data),
        }
    }
}

/// Runs a case on the plugin in both precisions, in f32 with every activation that it has.
fn check_on_plugin(vae: &Vae, checkpoint: &str, case: &Case) {
    let output = &case.tensors["output"].data;
    let taps = case.tensors.keys().filter(|name| name.starts_with("tap.")).count();
    let options = RunOptions::default().with_backend(Backend::Pjrt);
    let what = format!("{checkpoint} {} on the plugin", case.name);
    let mut observer = CompareTaps { what: what.clone(), case, compared: 0 };
    let tapped = options.clone().with_taps(if taps > 0 { Taps::All } else { Taps::None });
    let found = run(vae, case, tapped, &mut observer);
    assert_close(&what, output, &found);
    assert_eq!(observer.compared, taps, "{what}: every tap is compared");
    let found = run(vae, case, options.with_precision(Precision::Bf16), &mut ());
    assert_bf16(checkpoint, case, "the plugin", output, &found);
}

/// Runs the cases that are wanted on the plugin.
fn check_all_on_plugin(is_wanted: fn(checkpoint: &str, case: &str) -> bool) {
    for checkpoint in ["two-level", "four-level"] {
        let vae = Vae::open(&goldens().join(checkpoint)).expect("the checkpoint opens");
        for case in Case::all(checkpoint).iter().filter(|case| is_wanted(checkpoint, &case.name)) {
            check_on_plugin(&vae, checkpoint, case);
        }
    }
}

#[test]
fn some_cases_on_the_plugin() {
    const SOME: [(&str, &str); 3] = [
        ("two-level", "decode-3-frames-taps"),
        ("two-level", "encode-4-frames"),
        ("four-level", "decode-3-frames-tiled"),
    ];
    if needs::plugin("some_cases_on_the_plugin").is_some() {
        check_all_on_plugin(|checkpoint, case| SOME.contains(&(checkpoint, case)));
    }
}

#[test]
#[ignore = "compiles for minutes, on a PJRT plugin"]
fn every_case_on_the_plugin() {
    if needs::plugin("every_case_on_the_plugin").is_some() {
        check_all_on_plugin(|_, _| true);
        let ways = || {
            let of = |precision| RunOptions::default().with_backend(Backend::Pjrt).with_precision(precision);
            Precision::ALL.map(|precision| ("the plugin".to_owned(), of(precision))).to_vec()
        };
        decode_a_real_clip(ways());
        encode_a_real_clip(ways());
    }
}
