//! What outlives a call of a model, calls at the same time, and ending one.

mod common;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::model;
use safetensors::Dtype;
use tessera::checkpoint::Checkpoint;
use tessera::media::FrameBlock;
use tessera::model::locate;
use tessera::{
    Backend, Cancellation, Error, Latents, MemoryBudget, Observer, Progress, Report, RunOptions, TilingChoice, Vae,
};

fn latents(frames: usize) -> Latents {
    let shape = [1, 4, frames, 5, 6];
    let data = (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 10_007) as f32 / 5003.5 - 1.0).collect();
    Latents { data, shape }
}

fn decode_watched(vae: &Vae, options: &RunOptions, observer: &mut dyn Observer) -> Result<(Vec<f32>, Report), Error> {
    let mut frames = vec![];
    let mut sink = |_, block: &FrameBlock<'_>| {
        frames.extend_from_slice(block.data);
        Ok(())
    };
    let report = vae.decode(&latents(5), options, &mut sink, observer)?;
    Ok((frames, report))
}

fn decode(vae: &Vae, options: &RunOptions) -> (Vec<f32>, Report) {
    decode_watched(vae, options, &mut ()).unwrap()
}

#[test]
fn a_second_decode_compiles_nothing_and_takes_less_than_half_the_time() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    for tiling in [TilingChoice::Off, TilingChoice::Size { height: 12, width: 10 }] {
        let options = RunOptions::default().with_tiling(tiling);
        let timed = || {
            let started = Instant::now();
            (decode(&vae, &options), started.elapsed())
        };
        let ((frames, first), slow) = timed();
        assert!(first.programs_compiled >= 2 && first.programs_kept == 0 && !first.plan_kept, "{first:?}");
        // The fastest of a few: others may have the machine meanwhile.
        let again: Vec<_> = (0..5).map(|_| timed()).collect();
        for ((same, second), _) in &again {
            assert!(*same == frames);
            assert_eq!((second.programs_compiled, second.plan_kept), (0, true), "{second:?}");
            assert_eq!(second.programs_kept, first.programs_compiled);
            assert_eq!(second.seconds.compile + second.seconds.load, 0.0);
            assert_eq!(second.tiling.tiling, first.tiling.tiling);
        }
        let quick = again.iter().map(|(_, time)| *time).min().unwrap();
        assert!(quick * 2 < slow, "{quick:?} after {slow:?}");
    }
}

#[test]
fn every_engine_keeps_its_steps() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let options = RunOptions::default().with_backend(Backend::Interpret);
    let (frames, _) = decode(&vae, &options);
    let (again, second) = decode(&vae, &options);
    assert!(frames == again && second.programs_compiled == 0 && second.plan_kept, "{second:?}");
    let (_, native) = decode(&vae, &RunOptions::default());
    assert!(native.programs_compiled > 0 && !native.plan_kept, "{native:?}");
    if needs::plugin("every_engine_keeps_its_steps").is_some() {
        let options = RunOptions::default().with_backend(Backend::Pjrt);
        let (frames, first) = decode(&vae, &options);
        let (again, second) = decode(&vae, &options);
        assert!(first.programs_compiled > 0 && second.programs_compiled == 0 && frames == again, "{second:?}");
    }
}

#[test]
fn what_is_kept_does_not_leak_into_calls_that_ask_for_something_else() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let options = RunOptions::default().with_threads(2);
    let (frames, _) = decode(&vae, &options);
    let (rounded, report) = decode(&vae, &options.clone().with_precision(tessera::Precision::Bf16));
    assert!(rounded != frames && report.programs_compiled > 0);
    let mut tapped = 0;
    struct Count<'a>(&'a mut usize);
    impl Observer for Count<'_> {
        fn tap(&mut self, _: &tessera::Tap<'_>) -> tessera::Result<()> {
            *self.0 += 1;
            Ok(())
        }
    }
    let taps = options.clone().with_taps(frontend::Taps::All);
    assert!(decode_watched(&vae, &taps, &mut Count(&mut tapped)).is_ok() && tapped > 0);
    let (again, report) = decode(&vae, &options);
    assert!(again == frames && report.programs_compiled == 0 && report.plan_kept);
}

#[test]
fn two_decodes_at_once_give_the_bits_of_each_alone() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let whole = RunOptions::default().with_threads(2).with_tiling(TilingChoice::Off);
    let tiled = whole.clone().with_tiling(TilingChoice::Size { height: 12, width: 10 });
    let alone: Vec<_> = [&whole, &tiled].map(|options| decode(&vae, options).0).into();
    for fresh in [true, false] {
        if fresh {
            vae.free();
        }
        thread::scope(|scope| {
            let calls: Vec<_> =
                [&whole, &tiled, &whole, &tiled].map(|options| scope.spawn(|| decode(&vae, options).0)).into();
            for (call, expected) in calls.into_iter().zip([&alone[0], &alone[1], &alone[0], &alone[1]]) {
                assert!(call.join().unwrap() == *expected);
            }
        });
    }
}

#[test]
fn calls_that_do_not_fit_beside_each_other_wait() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let (expected, report) = decode(&vae, &RunOptions::default());
    vae.free();
    // As much as one of them needs, and a little more: other tests of this process come and go.
    let needed = report.tiling.memory.unwrap().total();
    let options = RunOptions::default().with_memory(MemoryBudget::Bytes(needed + needed / 4));
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| decode_watched(&vae, &options, &mut ()))).collect();
        for call in calls {
            match call.join().unwrap() {
                Ok((frames, _)) => assert!(frames == expected),
                // What other tests hold may leave too little for one.
                Err(error) => assert!(matches!(error, Error::Budget { .. }), "{error}"),
            }
        }
    });
}

#[test]
fn a_call_is_cancelled_from_another_thread() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let (expected, _) = decode(&vae, &RunOptions::default());

    /// Says that the call runs, and then does not let it end by itself.
    struct Endless<'a>(&'a AtomicBool);
    impl Observer for Endless<'_> {
        fn progress(&mut self, _: &Progress) -> ControlFlow<()> {
            self.0.store(true, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(20));
            ControlFlow::Continue(())
        }
    }
    let (cancellation, running) = (Cancellation::new(), AtomicBool::new(false));
    let options = RunOptions::default().with_cancellation(cancellation.clone());
    thread::scope(|scope| {
        let call = scope.spawn(|| decode_watched(&vae, &options, &mut Endless(&running)));
        while !running.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        cancellation.cancel();
        assert!(matches!(call.join().unwrap(), Err(Error::Interrupted)));
    });
    // One that has yet to begin does not.
    assert!(matches!(decode_watched(&vae, &options, &mut ()), Err(Error::Interrupted)));
    // The model is as good as before.
    assert!(decode(&vae, &RunOptions::default()).0 == expected);
}

#[test]
fn weights_are_replaced_and_dropped() {
    let folder = model(|_| {});
    let vae = Vae::open(folder.path()).unwrap();
    let (before, _) = decode(&vae, &RunOptions::default());
    let other = model(|tensors| {
        let bias = tensors.iter_mut().find(|tensor| tensor.name == "decoder.conv_out.conv.bias").unwrap();
        bias.dtype = Dtype::F32;
        bias.bytes = [1.0_f32, 2.0, 3.0].into_iter().flat_map(f32::to_le_bytes).collect();
    });
    let (expected, _) = decode(&Vae::open(other.path()).unwrap(), &RunOptions::default());
    let checkpoint = Checkpoint::open(&locate(other.path(), None).unwrap().weights).unwrap();
    assert_eq!(vae.replace_weights(checkpoint).unwrap(), Vec::<String>::new());
    let (after, report) = decode(&vae, &RunOptions::default());
    assert!(report.programs_compiled > 0 && report.seconds.load > 0.0);
    assert!(after == expected && after != before);
    vae.free();
    let (again, report) = decode(&vae, &RunOptions::default());
    assert!(report.programs_compiled > 0 && again == after);
}
