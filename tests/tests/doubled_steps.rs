//! How many frames a step takes where that is open: a test of its own program, since budgets count what
//! the process holds, which other tests would change.

use frontend::{Half, Taps};
use tessera::latents::Latents;
use tessera::{Backend, MemoryBudget, RunOptions, TilingChoice, Vae};
use tests::goldens;

/// Native steps have twice the reference's frames where that changes nothing, unless memory is tight or
/// activations are looked at.
#[test]
fn steps_are_doubled_where_memory_allows() {
    let vae = Vae::open(&goldens().join("models/wan-2.1")).expect("the checkpoint opens");
    // Large enough that what the process grows by between two calls is little beside a step.
    let shape = [1, vae.model().input_channels(Half::Decoder), 6, 48, 64];
    let latents = Latents { data: vec![0.25; shape.iter().product()], shape };
    let decode = |options: RunOptions| {
        let report = vae.decode_to_memory(&latents, &options.with_threads(2), &mut ()).expect("it decodes").1;
        (report.tiling.step_frames, report.program_runs, report.tiling.memory.map(|memory| memory.total()))
    };
    let usual = || RunOptions::default().with_tiling(TilingChoice::Off);
    let (doubled, runs, needed) = decode(usual());
    assert_eq!((doubled, runs), (Some(2), 4));
    let (single, runs, of_single) = decode(usual().with_step_frames(1));
    assert_eq!((single, runs), (None, 6));
    assert!(of_single < needed);
    let between = of_single.zip(needed).map(|(less, more)| less.midpoint(more)).expect("it is planned");
    assert_eq!(decode(usual().with_memory(MemoryBudget::Bytes(between))).0, None);
    assert_eq!(decode(usual().with_taps(Taps::All)).1, 6);
    assert_eq!(decode(usual().with_backend(Backend::Interpret)).1, 6);
}
