//! What results do not depend on, bit for bit, and how far apart they are where something else may
//! differ. ARCHITECTURE.md has the table.
//!
//! That tiles may run in any order is tested beside [`runtime`]'s clips, that every process makes
//! the same bits beside its command line.

use tessera::latents::Latents;
use tessera::{Backend, Overlap, Parallel, Precision, RunOptions, TilingChoice, Vae, Video};
use tests::{Case, Tensor, demo_model, errors, goldens, targets};

/// Mean and maximum of what two instruction sets, or native code and the evaluator, may be apart,
/// of numbers of order 1.
const OTHER_CODE: [(Precision, f64, f64); 2] = [(Precision::F32, 1e-6, 2e-5), (Precision::Bf16, 4e-3, 4e-2)];

/// The same of a trained model's decoder over tiles of half the size instead of whole frames.
const OTHER_TILES: (f64, f64) = (5e-2, 1.0);

fn noise(shape: [usize; 5]) -> Vec<f32> {
    (0..shape.iter().product::<usize>()).map(|i| ((i * 7919 % 10_007) as f32 / 5003.5) - 1.0).collect()
}

/// Decodes and encodes two samples of two steps each; all numbers that come out.
fn run(vae: &Vae, options: &RunOptions) -> Vec<f32> {
    let channels = vae.model().channels();
    let shape = [2, channels.latents, 4, 5, 7];
    let latents = Latents { data: noise(shape), shape };
    let mut data = vec![];
    let mut sink = |_, block: &tessera::media::FrameBlock<'_>| {
        data.extend_from_slice(block.data);
        Ok(())
    };
    vae.decode(&latents, options, &mut sink, &mut ()).expect("it decodes");
    let shape = [2, channels.input, 16, 10, 14];
    let (moments, _) = vae.encode(&Video { data: noise(shape), shape }, options, &mut ()).expect("it encodes");
    data.extend(moments.data);
    data
}

fn open() -> Vae {
    Vae::open(&goldens().join("two-level")).expect("the checkpoint opens")
}

#[test]
fn threads_workers_and_runs_change_no_bit() {
    let (vae, other) = (open(), open());
    let tiles = TilingChoice::Size { height: 8, width: 8 };
    for (precision, tiling) in Precision::ALL.into_iter().flat_map(|p| [(p, TilingChoice::Off), (p, tiles)]) {
        let overlap = Overlap { height: 0.5, width: 0.5 };
        let of = |threads, parallel| {
            RunOptions::default()
                .with_threads(threads)
                .with_precision(precision)
                .with_tiling(tiling)
                .with_overlap(overlap)
                .with_parallel(parallel)
        };
        let expected = run(&vae, &of(1, Parallel::None));
        let same = |vae, threads, parallel| run(vae, &of(threads, parallel)) == expected;
        assert!(same(&vae, 3, Parallel::None), "{precision}, {tiling:?}: three threads");
        assert!(same(&vae, 3, Parallel::Tiles), "{precision}, {tiling:?}: tiles at once");
        assert!(same(&vae, 2, Parallel::Batch), "{precision}, {tiling:?}: samples at once");
        assert!(same(&other, 2, Parallel::None), "{precision}, {tiling:?}: two threads, another model");
    }
}

#[test]
fn threads_change_no_bit_on_any_target() {
    let vae = open();
    for (target, precision) in Precision::ALL.into_iter().flat_map(|p| targets(p).into_iter().map(move |t| (t, p))) {
        let of = |threads| RunOptions::default().with_target(target).with_precision(precision).with_threads(threads);
        assert!(run(&vae, &of(1)) == run(&vae, &of(3)), "{target}, {precision}");
    }
}

#[test]
fn other_code_is_near() {
    let vae = open();
    for (precision, mean_bound, maximum_bound) in OTHER_CODE {
        let of = |backend, target| {
            RunOptions::default().with_backend(backend).with_target(target).with_precision(precision).with_threads(2)
        };
        let evaluator = run(&vae, &of(Backend::Interpret, None));
        let native = targets(precision).into_iter().map(|target| run(&vae, &of(Backend::Cpu, Some(target))));
        let all: Vec<_> = native.chain([evaluator]).collect();
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                let (mean, maximum) = errors(a, b);
                println!("{precision}: mean {mean:.2e}, maximum {maximum:.2e}");
                assert!(mean <= mean_bound && maximum <= maximum_bound, "{precision}: {mean:.2e}, {maximum:.2e}");
            }
        }
    }
}

/// Norms gather their statistics over a tile, so other tiles give another picture, in the reference
/// too: how far off depends on model and content. Here a trained model and a real clip.
#[test]
fn other_tiles_are_a_little_off() {
    let vae = Vae::open(&demo_model()).expect("the checkpoint opens");
    let clip = Case::read(&goldens().join("trained/cases/decode-bunny.safetensors"));
    let Tensor { shape, data } = &clip.tensors["input"];
    let [channels, frames, height, width] = shape[1..] else { panic!("five axes") };
    let plane = height * width;
    let first = (0..channels).flat_map(|channel| data[channel * frames * plane..][..2 * plane].iter().copied());
    let latents = Latents { data: first.collect(), shape: [1, channels, 2, height, width] };
    let decode = |tiling| {
        let mut found = vec![];
        let mut sink = |_, block: &tessera::media::FrameBlock<'_>| {
            found.extend_from_slice(block.data);
            Ok(())
        };
        let options = RunOptions::default().with_tiling(tiling).with_overlap(Overlap { height: 0.25, width: 0.25 });
        let report = vae.decode(&latents, &options, &mut sink, &mut ()).expect("it decodes");
        (found, report.tiling.rows * report.tiling.columns)
    };
    let [size, across] =
        [height, width].map(|latents| vae.model().sample_size(latents.div_ceil(2).next_multiple_of(4)));
    let (whole, one) = decode(TilingChoice::Off);
    let (tiled, several) = decode(TilingChoice::Size { height: size, width: across });
    let (mean, maximum) = errors(&whole, &tiled);
    println!("{several} tiles instead of {one}: mean {mean:.2e}, maximum {maximum:.2e}");
    let (mean_bound, maximum_bound) = OTHER_TILES;
    assert!(several > one && mean <= mean_bound && maximum <= maximum_bound, "{mean:.2e}, {maximum:.2e}");
}
