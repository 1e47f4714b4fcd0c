//! The library over a tiny model: both backends agree, clips fall into steps, and what is wrong
//! with a model is said.

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use common::{Tensor, model, random};
use frontend::{Half, Taps, tap_names};
use ir::TensorType;
use safetensors::Dtype;
use tessera::media::FrameBlock;
use tessera::{
    Backend, Error, Latents, MemoryBudget, Observer, Overlap, Parallel, Precision, Progress, Report, Result,
    RunOptions, Tap, TilingChoice, Vae, Video,
};

fn options(backend: Backend) -> RunOptions {
    RunOptions::default().with_backend(backend).with_threads(2)
}

fn latents(batch: usize, frames: usize) -> Latents {
    let shape = [batch, 4, frames, 3, 5];
    Latents { data: random(7, shape.iter().product()), shape }
}

/// The frames of each sample, [T, C * H * W], and the report.
fn decode(vae: &Vae, latents: &Latents, backend: Backend) -> (Vec<Vec<f32>>, Report) {
    let shape = vae.decoded_shape(latents, &RunOptions::default()).unwrap();
    let mut samples = vec![vec![]; shape.batch];
    let mut last_sample = 0;
    let mut sink = |sample: usize, block: &FrameBlock<'_>| {
        assert!(sample >= last_sample);
        last_sample = sample;
        let plane = shape.height * shape.width;
        assert_eq!(block.data.len(), shape.channels * block.frames * plane);
        for frame in 0..block.frames {
            for channel in 0..shape.channels {
                samples[sample].extend_from_slice(&block.data[(channel * block.frames + frame) * plane..][..plane]);
            }
        }
        Ok(())
    };
    let report = vae.decode(latents, &options(backend), &mut sink, &mut ()).unwrap();
    assert!(samples.iter().all(|s| s.len() == shape.frames * shape.channels * shape.height * shape.width));
    assert_eq!((report.frames, report.height, report.width), (shape.batch * shape.frames, shape.height, shape.width));
    (samples, report)
}

fn encode(vae: &Vae, clip: &Video, backend: Backend) -> (Video, Report) {
    vae.encode(clip, &options(backend), &mut ()).unwrap()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "largest difference {worst}");
    assert!(expected.iter().any(|v| v.abs() > 1e-2), "nothing but zeros");
}

#[test]
fn decoding_on_the_cpu_is_what_the_evaluator_says() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    assert_eq!(vae.warnings(), &[] as &[String]);
    for (frames, programs, runs) in [(1, 1, 1), (2, 1, 1), (3, 1, 1), (5, 2, 2), (6, 2, 3)] {
        let (found, report) = decode(&vae, &latents(1, frames), Backend::Cpu);
        let (expected, slow) = decode(&vae, &latents(1, frames), Backend::Interpret);
        assert_close(&found[0], &expected[0]);
        assert_eq!((report.programs_compiled, report.program_runs), (programs, runs), "{frames} frames");
        assert!(report.arena_bytes > 0 && report.seconds.run > 0.0 && report.isa != "none", "{report:?}");
        assert_eq!((slow.arena_bytes, slow.isa, slow.threads), (0, "none", 2));
    }
}

#[test]
fn bf16_is_near_f32_in_half_the_memory() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let latents = latents(1, 6);
    let run = |precision, backend| {
        let mut data = vec![];
        let mut sink = |_, block: &FrameBlock<'_>| {
            data.extend_from_slice(block.data);
            Ok(())
        };
        let options = options(backend).with_precision(precision);
        let report = vae.decode(&latents, &options, &mut sink, &mut ()).unwrap();
        assert_eq!(report.precision, precision);
        (data, report.arena_bytes)
    };
    let (wide, wide_arena) = run(Precision::F32, Backend::Cpu);
    let (narrow, narrow_arena) = run(Precision::Bf16, Backend::Cpu);
    let (slow, _) = run(Precision::Bf16, Backend::Interpret);
    let mean = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32;
    let (to_f32, to_evaluator) = (mean(&narrow, &wide), mean(&narrow, &slow));
    assert!(
        to_f32 > 1e-5 && to_f32 < 1e-2 && to_evaluator < 5e-3,
        "{to_f32} from f32, {to_evaluator} from the evaluator"
    );
    assert!(narrow_arena * 10 < wide_arena * 7, "{narrow_arena} bytes and {wide_arena}");
}

#[test]
fn encoding_on_the_cpu_is_what_the_evaluator_says() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    for (frames, latent_frames, runs) in [(1, 1, 1), (9, 5, 1), (17, 9, 2)] {
        let shape = [1, 3, frames, 7, 8];
        let clip = Video { data: random(3, shape.iter().product()), shape };
        let (found, report) = encode(&vae, &clip, Backend::Cpu);
        assert_eq!(found.shape, [1, 8, latent_frames, 3, 4]);
        assert_eq!((report.program_runs, report.frames, report.height, report.width), (runs, frames, 7, 8));
        assert_close(&found.data, &encode(&vae, &clip, Backend::Interpret).0.data);
    }
}

#[test]
fn samples_of_a_batch_are_decoded_and_encoded_as_each_alone() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let both = latents(2, 5);
    let (samples, report) = decode(&vae, &both, Backend::Cpu);
    assert_eq!((report.programs_compiled, report.program_runs), (2, 4));
    let size = both.data.len() / 2;
    for (sample, data) in samples.iter().zip(both.data.chunks(size)) {
        let alone = Latents { data: data.to_vec(), shape: [1, 4, 5, 3, 5] };
        assert_eq!(decode(&vae, &alone, Backend::Cpu).0, [sample.as_slice()]);
    }

    let shape = [2, 3, 17, 4, 6];
    let clip = Video { data: random(9, shape.iter().product()), shape };
    let (moments, report) = encode(&vae, &clip, Backend::Cpu);
    assert_eq!((moments.shape, report.programs_compiled, report.program_runs), ([2, 8, 9, 2, 3], 2, 4));
    let halves = clip.data.chunks(clip.data.len() / 2).zip(moments.data.chunks(moments.data.len() / 2));
    for (data, expected) in halves {
        let alone = Video { data: data.to_vec(), shape: [1, 3, 17, 4, 6] };
        assert_eq!(encode(&vae, &alone, Backend::Cpu).0.data, expected);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let run = |threads| {
        let mut data = vec![];
        let options = RunOptions::default().with_threads(threads);
        let mut sink = |_, block: &FrameBlock<'_>| {
            data.extend_from_slice(block.data);
            Ok(())
        };
        vae.decode(&latents(1, 3), &options, &mut sink, &mut ()).unwrap();
        data
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn workers_change_nothing_but_the_time() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let tiles = TilingChoice::Size { height: 4, width: 4 };
    let run = |parallel, tiling, threads, batch| {
        let overlap = Overlap { height: 0.5, width: 0.5 };
        let options = RunOptions::default()
            .with_parallel(parallel)
            .with_tiling(tiling)
            .with_overlap(overlap)
            .with_threads(threads);
        let (mut data, mut taps) = (vec![], Recorder::default());
        let mut sink = |sample, block: &FrameBlock<'_>| {
            data.push((sample, block.data.to_vec()));
            Ok(())
        };
        let options = options.with_taps(Taps::Named(["decoder.mid_block".into()].into()));
        let report = vae.decode(&latents(batch, 7), &options, &mut sink, &mut taps).unwrap();
        let work: Vec<_> = taps.progress.iter().map(|progress| progress.share).collect();
        assert!(work.is_sorted() && work.last() == Some(&1.0), "{work:?}");
        (report.workers, data, report.program_runs, taps.taps.into_iter().map(|tap| tap.4).collect::<Vec<_>>())
    };
    let (_, whole, runs, _) = run(Parallel::None, TilingChoice::Off, 4, 3);
    for (parallel, threads, workers) in [(Parallel::Auto, 2, 2), (Parallel::Batch, 7, 3), (Parallel::Tiles, 4, 1)] {
        let found = run(parallel, TilingChoice::Off, threads, 3);
        assert_eq!((found.0, found.2), (workers, runs), "{parallel:?}");
        assert!(found.1 == whole, "{parallel:?}");
    }
    let (_, tiled, runs, taps) = run(Parallel::None, tiles, 4, 2);
    for (parallel, threads, workers) in [(Parallel::Auto, 3, 3), (Parallel::Tiles, 4, 4), (Parallel::Batch, 4, 1)] {
        let found = run(parallel, tiles, threads, 2);
        assert_eq!((found.0, found.2), (workers, runs), "{parallel:?}");
        assert!(found.1 == tiled && found.3 == taps, "{parallel:?}");
    }
}

#[test]
fn what_fails_beside_other_workers_stops_the_clip() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let options = RunOptions::default().with_parallel(Parallel::Batch).with_threads(3);
    // The second sample's frames leave while nothing runs: a break stops there as well.
    let mut recorder = Recorder { stop_at: Some(10), ..Recorder::default() };
    let error = vae.decode(&latents(3, 5), &options, &mut |_, _| Ok(()), &mut recorder).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    let mut sink = |sample, _: &FrameBlock<'_>| match sample {
        0 => Ok(()),
        _ => Err(full()),
    };
    let error = vae.decode(&latents(3, 5), &options, &mut sink, &mut ()).unwrap_err();
    assert!(matches!(error, Error::Media(media::Error::InvalidClip { .. })), "{error}");
    // A worker has memory of its own: where that does not fit, there are fewer.
    let report = |memory| {
        let options = options.clone().with_memory(memory);
        vae.decode(&latents(3, 5), &options, &mut |_, _| Ok(()), &mut ()).unwrap()
    };
    let needed = report(MemoryBudget::default());
    assert_eq!(needed.workers, 3);
    let one = options.clone().with_parallel(Parallel::None);
    let alone = vae.decode(&latents(3, 5), &one, &mut |_, _| Ok(()), &mut ()).unwrap();
    let [needed, alone] = [needed, alone].map(|report| report.tiling.memory.unwrap());
    assert!(needed.arena > alone.arena && needed.states == 3 * alone.states, "{needed} {alone}");
}

#[test]
fn an_encoder_that_makes_non_finite_values_is_told_of_with_the_frame() {
    let folder = model(|tensors| {
        let tensor = tensors.iter_mut().find(|t| t.name == "encoder.conv_out.conv.bias").unwrap();
        let mut values = [0.0_f32; 8];
        values[5] = f32::NAN;
        (tensor.dtype, tensor.bytes) = (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    });
    let vae = Vae::open(folder.path()).unwrap();
    let clip = Video { data: random(9, 3 * 9 * 4 * 6), shape: [1, 3, 9, 4, 6] };
    let message = vae.encode(&clip, &options(Backend::Cpu), &mut ()).unwrap_err().to_string();
    for part in ["30 of 240 values that are not finite", "the encoder made", "(NaN) in frame 0 of sample 0", "weights"]
    {
        assert!(message.contains(part), "`{part}` is not in {message}");
    }
}

/// Keeps all it is told; breaks when so many frames are done.
#[derive(Default)]
struct Recorder {
    stop_at: Option<usize>,
    progress: Vec<Progress>,
    taps: Vec<(usize, usize, String, TensorType, Vec<f32>)>,
}

impl Observer for Recorder {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.progress.push(*progress);
        if self.stop_at.is_some_and(|stop| progress.frames_done >= stop) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn tap(&mut self, tap: &Tap<'_>) -> Result<()> {
        self.taps.push((tap.sample, tap.step, tap.module.into(), tap.ty.clone(), tap.data.to_vec()));
        Ok(())
    }
}

#[test]
fn activations_are_laid_open_alike_on_both_backends() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let run = |backend, taps| {
        let mut recorder = Recorder::default();
        let options = options(backend).with_taps(taps);
        vae.decode(&latents(1, 4), &options, &mut |_, _| Ok(()), &mut recorder).map(|_| recorder.taps)
    };
    let found = run(Backend::Cpu, Taps::All).unwrap();
    let expected = run(Backend::Interpret, Taps::All).unwrap();
    let names = tap_names(vae.model(), Half::Decoder).unwrap();
    assert_eq!(found.len(), 2 * names.len());
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!((found.0, found.1, &found.2), (0, i / names.len(), &names[i % names.len()]));
        assert_eq!((&found.2, &found.3), (&expected.2, &expected.3));
        assert_close(&found.4, &expected.4);
    }
    let one = Taps::Named(["decoder.mid_block".into()].into());
    let found = run(Backend::Cpu, one).unwrap();
    assert_eq!(
        found.iter().map(|tap| (tap.1, tap.2.as_str())).collect::<Vec<_>>(),
        [(0, "decoder.mid_block"), (1, "decoder.mid_block")]
    );
    let message = run(Backend::Cpu, Taps::Named(["decoder.nothing".into()].into())).unwrap_err().to_string();
    assert!(message.contains("no module `decoder.nothing`"), "{message}");
}

#[test]
fn progress_is_told_and_a_break_stops() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    for backend in [Backend::Cpu, Backend::Interpret] {
        let mut recorder = Recorder::default();
        vae.decode(&latents(2, 4), &options(backend), &mut |_, _| Ok(()), &mut recorder).unwrap();
        let progress = recorder.progress;
        assert!(progress.iter().all(|p| p.frames_total == 16 && (0.0..=1.0).contains(&p.step_share)));
        assert!(progress.is_sorted_by_key(|p| p.frames_done));
        assert_eq!(progress.first().map(|p| (p.frames_done, p.seconds_left)), Some((0, None)));
        assert_eq!(progress.last().map(|p| (p.frames_done, p.seconds_left)), Some((16, Some(0.0))));

        for stop in [0, 4, 8, 16] {
            let mut recorder = Recorder { stop_at: Some(stop), ..Recorder::default() };
            let mut frames = 0;
            let mut sink = |_, block: &FrameBlock<'_>| {
                frames += block.frames;
                Ok(())
            };
            let error = vae.decode(&latents(2, 4), &options(backend), &mut sink, &mut recorder).unwrap_err();
            assert!(matches!(error, Error::Interrupted), "{error}");
            assert_eq!(frames, stop, "{backend:?}");
        }
    }
}

/// What a sink returns that takes no more.
fn full() -> Error {
    media::Error::InvalidClip { problem: "full".into() }.into()
}

#[test]
fn what_the_sink_returns_stops_the_clip() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let mut sink = |_, _: &FrameBlock<'_>| Err(full());
    let error = vae.decode(&latents(1, 2), &options(Backend::Cpu), &mut sink, &mut ()).unwrap_err();
    assert!(matches!(error, Error::Media(media::Error::InvalidClip { .. })), "{error}");
}

#[test]
fn tensors_that_the_model_does_not_take_are_refused() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let complaint = |shape: [usize; 5], values: usize| {
        let latents = Latents { data: vec![0.0; values], shape };
        vae.decode(&latents, &options(Backend::Cpu), &mut |_, _| Ok(()), &mut ()).unwrap_err().to_string()
    };
    assert!(complaint([1, 3, 1, 1, 1], 3).contains("[1, 3, 1, 1, 1]: the model takes 4 channels"));
    assert!(complaint([1, 4, 0, 1, 1], 0).contains("is empty"));
    assert!(complaint([1, 4, 1, 1, 1], 3).contains("3 values do not fill it"));
    assert!(complaint([usize::MAX, 4, 1, 1, 1], 3).contains("3 values do not fill it"));
    let small = Video { data: vec![0.0; 3], shape: [1, 3, 1, 1, 1] };
    let message = vae.encode(&small, &options(Backend::Cpu), &mut ()).unwrap_err().to_string();
    assert!(message.contains("at least 2x2 pixels"), "{message}");
    let none = RunOptions::default().with_threads(0);
    let message = vae.decode(&latents(1, 1), &none, &mut |_, _| Ok(()), &mut ()).unwrap_err().to_string();
    assert!(message.contains("expected 1 to 1024"), "{message}");
}

/// What decoding says of a model whose tensors were changed.
fn decode_complaint(edit: impl FnOnce(&mut Vec<Tensor>)) -> String {
    let folder = model(edit);
    let vae = Vae::open(folder.path()).unwrap();
    vae.decode(&latents(1, 1), &options(Backend::Cpu), &mut |_, _| Ok(()), &mut ()).unwrap_err().to_string()
}

fn of_decoder(tensor: &Tensor) -> bool {
    tensor.name.starts_with("decoder.")
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let message = decode_complaint(|tensors| tensors.retain(|t| t.name != "decoder.conv_in.conv.bias"));
    assert!(message.contains("not the decoder that config.json describes: 1 of"), "{message}");
    assert!(message.ends_with("tensors missing: `decoder.conv_in.conv.bias`"), "{message}");

    let message = decode_complaint(|tensors| {
        let mut kept = 0;
        tensors.retain(|t| {
            !of_decoder(t) || {
                kept += 1;
                kept > 5
            }
        });
    });
    assert!(message.contains("5 of") && message.ends_with("and 2 others"), "{message}");

    let message = decode_complaint(|tensors| {
        let tensor = tensors.iter_mut().find(|t| t.name == "decoder.conv_in.conv.bias").unwrap();
        tensor.shape = vec![1, 16];
    });
    assert!(message.contains("`decoder.conv_in.conv.bias` is [1, 16], expected [16]"), "{message}");

    let message = decode_complaint(|tensors| {
        let tensor = tensors.iter_mut().find(|t| t.name == "decoder.conv_in.conv.bias").unwrap();
        (tensor.dtype, tensor.bytes) = (Dtype::I8, vec![0; 16]);
    });
    assert!(message.contains("`decoder.conv_in.conv.bias` is I8, expected F32"), "{message}");

    let message = decode_complaint(|tensors| tensors.retain(|t| !of_decoder(t)));
    assert!(message.contains("none of its") && message.contains("encoder."), "{message}");
}

#[test]
fn one_half_will_do_until_the_other_is_asked_for() {
    let folder = model(|tensors| tensors.retain(|t| !of_decoder(t)));
    let vae = Vae::open(folder.path()).unwrap();
    assert_eq!(vae.warnings(), &[] as &[String]);
    let clip = Video { data: random(1, 3 * 16), shape: [1, 3, 1, 4, 4] };
    assert!(vae.encode(&clip, &options(Backend::Cpu), &mut ()).is_ok());
    let error = vae.check_weights(Half::Decoder).unwrap_err();
    assert!(matches!(&error, Error::Weights(weights::Error::NotTheModel { half, .. }) if half == "decoder"), "{error}");
}

#[test]
fn what_is_passed_over_is_a_warning() {
    let extra = |name: &str| Tensor { name: name.into(), shape: vec![1], dtype: Dtype::F32, bytes: vec![0; 4] };
    let folder = model(|tensors| tensors.extend(["discriminator.weight", "loss.bias"].map(extra)));
    let config = common::CONFIG.replacen('{', "{\"colour_space\": \"rgb\",", 1);
    fs::write(folder.path().join("config.json"), config).unwrap();
    let vae = Vae::open(folder.path()).unwrap();
    let [field, tensors] = vae.warnings() else { panic!("{:?}", vae.warnings()) };
    assert!(field.contains("config.json: colour_space"), "{field}");
    assert!(tensors.ends_with("ignored: `discriminator.weight`, `loss.bias`"), "{tensors}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_explained_on_one_line() {
    let folder = model(|_| {});
    let complaint = |text: &str| {
        fs::write(folder.path().join("config.json"), text).unwrap();
        let message = Vae::open(folder.path()).err().unwrap().to_string();
        assert!(message.contains("config.json") && !message.contains('\n'), "{message}");
        message
    };
    assert!(complaint("{").contains("not JSON"));
    let two = common::CONFIG
        .replace("0.5", "0")
        .replace("16, ", "")
        .replace("\"layers_per_block\": 1", "\"layers_per_block\": 65");
    let message = complaint(&two);
    assert!(
        message.contains("scaling_factor: expected") && message.contains("; ") && message.contains("layers_per_block")
    );
    assert!(complaint(r#"{"_class_name": "VQModel"}"#).contains("another model"));
    assert!(Vae::open(Path::new("/no/such/model")).err().unwrap().to_string().contains("no such file or folder"));
}

#[test]
fn the_demo_is_whole() {
    let vae = tessera::demo::vae().unwrap();
    assert_eq!(vae.warnings(), &[] as &[String]);
    vae.check_weights(Half::Decoder).unwrap();
    vae.check_weights(Half::Encoder)
        .unwrap_or_else(|error| assert!(error.to_string().contains("none of its"), "{error}"));
    let latents = tessera::demo::latents().unwrap();
    let shape = vae.decoded_shape(&latents, &RunOptions::default()).unwrap();
    assert_eq!((shape.frames, shape.height, shape.width), (49, 128, 192));
}
