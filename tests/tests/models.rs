//! Every golden case of every model in `goldens/models`, through the evaluator and through the CPU
//! backend on each instruction set of this machine, with every activation that a case holds.
//!
//! Errors count relative to the largest value of a tensor where that is over 1. The first model has
//! tests of its own, in `goldens.rs`.

use std::fs;
use std::path::Path;

use frontend::{Half, Taps};
use tessera::latents::Latents;
use tessera::{Backend, Observer, Precision, Result, RunOptions, Tap, Tiling, TilingChoice, Vae, Video};
use tests::{Case, MAXIMUM_BOUND, MEAN_BOUND, Tensor, Tiles, errors, goldens, targets};

/// Every way to run a step in f32: a name and the options.
fn ways() -> Vec<(String, RunOptions)> {
    let of = |backend| RunOptions::default().with_backend(backend).with_threads(2);
    let native = targets(Precision::F32).into_iter();
    let native = native.map(|target| (target.to_string(), of(Backend::Cpu).with_target(target)));
    std::iter::once(("interpret".to_owned(), of(Backend::Interpret))).chain(native).collect()
}

fn assert_near(what: &str, expected: &Tensor, found: &[f32]) {
    let largest = expected.data.iter().fold(1.0_f64, |largest, value| largest.max(f64::from(value.abs())));
    let (mean, maximum) = errors(&expected.data, found);
    let (mean, maximum) = (mean / largest, maximum / largest);
    assert!(
        mean <= MEAN_BOUND && maximum <= MAXIMUM_BOUND,
        "{what}: mean error {mean:.2e} (at most {MEAN_BOUND:.0e}), maximum {maximum:.2e} (at most {MAXIMUM_BOUND:.0e})"
    );
    println!("{what}: mean error {mean:.2e}, maximum {maximum:.2e}");
}

/// Compares each activation that the case holds.
struct CompareTaps<'a> {
    what: String,
    case: &'a Case,
    compared: usize,
}

impl Observer for CompareTaps<'_> {
    fn tap(&mut self, tap: &Tap<'_>) -> Result<()> {
        if let Some(expected) = self.case.tap(tap.step, tap.module) {
            let what = format!("{} tap.{}.{}", self.what, tap.step, tap.module);
            assert_eq!(tap.ty.elements(), expected.data.len(), "{what}: {}, expected {:?}", tap.ty, expected.shape);
            assert_near(&what, expected, tap.data);
            self.compared += 1;
        }
        Ok(())
    }
}

/// [B, C, T, H, W] of a tensor, of one frame where it is of images.
fn shape(tensor: &Tensor) -> [usize; 5] {
    match tensor.shape[..] {
        [b, c, h, w] => [b, c, 1, h, w],
        _ => tensor.shape.as_slice().try_into().expect("four or five axes"),
    }
}

/// Runs a case; what comes out, [B, C, T, H, W].
fn run(vae: &Vae, case: &Case, mut options: RunOptions, observer: &mut dyn Observer) -> Vec<f32> {
    let half = if case.op() == "decode" { Half::Decoder } else { Half::Encoder };
    let tiling = match case.tiles() {
        Tiles::Off => None,
        Tiles::Usual => Some(Tiling::of(vae.model())),
        Tiles::Strided { size, stride } => {
            Some(Tiling::strided(vae.model(), half, size, stride).expect("the reference's tiles fit"))
        }
    };
    options.tiling =
        tiling.map_or(TilingChoice::Off, |Tiling { height, width, .. }| TilingChoice::Size { height, width });
    options.overlap = tiling.map(|tiling| tiling.overlap);
    let input = &case.tensors["input"];
    let (data, shape) = (input.data.clone(), shape(input));
    let input = match half {
        Half::Decoder => tessera::RunInput::Latents(Latents { data, shape }),
        Half::Encoder => tessera::RunInput::Clip(Video { data, shape }),
    };
    input.run(vae, &options, observer).unwrap_or_else(|error| panic!("{}: {error}", case.name)).0.data
}

fn check(model: &str) {
    let folder = goldens().join("models").join(model);
    let vae = Vae::open(&folder).expect("the checkpoint opens");
    assert_eq!(vae.warnings(), &[] as &[String], "{model}");
    let cases = Case::all(&format!("models/{model}"));
    assert!(!cases.is_empty());
    for case in &cases {
        let expected = case.taps();
        let taps = if expected > 0 { Taps::All } else { Taps::None };
        for (way, options) in ways() {
            let what = format!("{model} {} on {way}", case.name);
            let mut observer = CompareTaps { what: what.clone(), case, compared: 0 };
            let found = run(&vae, case, options.with_taps(taps.clone()), &mut observer);
            assert_near(&what, &case.tensors["output"], &found);
            assert_eq!(observer.compared, expected, "{what}: every tap is compared");
        }
    }
}

#[test]
fn autoencoder_kl() {
    check("autoencoder-kl");
}

#[test]
fn wan_2_1() {
    check("wan-2.1");
}

#[test]
fn every_model_has_a_test() {
    let here = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models.rs")).expect("this file");
    for entry in fs::read_dir(goldens().join("models")).expect("the goldens") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(here.contains(&format!("check(\"{name}\")")), "no test checks {name}");
    }
}
