use frontend::SurplusFrame;

use super::*;
use crate::demo;
use crate::framewise::Framewise;
use crate::latents::Latents;
use crate::options::FrameTilingChoice;
use crate::report::Report;

const GENEROUS: u64 = 1 << 40;

/// Plans a decode of the demo's model over latents of these frames, height and width.
fn decide(latents: [usize; 3], tiling: TilingChoice, budget: u64) -> Result<TilingDecision> {
    plan(latents, RunOptions { tiling, ..RunOptions::default() }, budget).map(|(_, decision)| decision)
}

fn plan(latents: [usize; 3], options: RunOptions, budget: u64) -> Result<(Route, TilingDecision)> {
    plan_of(&*demo::model()?, latents, options, budget)
}

fn plan_of(
    model: &dyn Autoencoder,
    latents: [usize; 3],
    options: RunOptions,
    budget: u64,
) -> Result<(Route, TilingDecision)> {
    let checkpoint = demo::checkpoint()?;
    let [frames, height, width] = latents;
    let options = RunOptions { memory: MemoryBudget::Bytes(budget), ..options };
    let plan = Plan {
        model,
        checkpoint: &checkpoint,
        half: Half::Decoder,
        shape: [1, 16, frames, height, width],
        options: &options,
        threads: 2,
        target: Some(Target::from_env_or_probe()?),
        in_memory: true,
        weights_made: 0,
    };
    plan.decide().map(|decided| (decided.route, decided.decision))
}

#[test]
fn workers_are_for_small_steps_and_for_memory_that_is_there() {
    let workers = |parallel, [height, width]: [usize; 2], budget| {
        let tiling = TilingChoice::Size { height, width };
        let (route, decision) =
            plan([5, 30, 45], RunOptions { tiling, parallel, ..RunOptions::default() }, budget).unwrap();
        (route.workers, decision.memory.unwrap())
    };
    let (one, alone) = workers(Parallel::None, [96, 120], GENEROUS);
    let (two, both) = workers(Parallel::Auto, [96, 120], GENEROUS);
    assert_eq!((one, two), (1, 2));
    assert!(both.arena > alone.arena && both.states > alone.states && both.frames > alone.frames);
    // Other tests of this process make its base vary.
    let between = alone.total().midpoint(both.total()).max(alone.total() + (4 << 20));
    assert_eq!(workers(Parallel::Auto, [96, 120], between).0, 1);
    // A large step is shared by all threads unless it is asked for otherwise.
    assert_eq!(workers(Parallel::Auto, [192, 240], GENEROUS).0, 1);
    assert_eq!(workers(Parallel::Tiles, [192, 240], GENEROUS).0, 2);
    assert_eq!(workers(Parallel::Batch, [96, 120], GENEROUS).0, 1);
}

#[test]
fn whole_frames_then_tiles_then_refusal() {
    let size = [5, 30, 45];
    let whole = decide(size, TilingChoice::Auto, GENEROUS).unwrap();
    assert_eq!((whole.tiling, whole.reason), (None, WHOLE_FITS));
    let whole_bytes = whole.memory.unwrap().total();

    // Other tests of this process make its base vary.
    let tiled = decide(size, TilingChoice::Auto, whole_bytes / 10 * 8).unwrap();
    let memory = tiled.memory.unwrap();
    assert!(tiled.rows * tiled.columns > 1, "{tiled}");
    assert!(memory.total() <= tiled.budget && memory.arena < whole.memory.unwrap().arena);
    assert!(tiled.to_string().contains("whole frames do not fit"), "{tiled}");

    let refused = decide(size, TilingChoice::Auto, 1 << 20).unwrap_err().to_string();
    for part in ["even in the smallest tiles", "the memory budget is 1.0 MiB", "[1, 16, 5, 30, 45]", "weights"] {
        assert!(refused.contains(part), "{refused}");
    }
    let refused = decide(size, TilingChoice::Off, whole_bytes / 10 * 8).unwrap_err().to_string();
    assert!(refused.contains("in whole frames; tiles may need less"), "{refused}");
}

#[test]
fn tiles_that_were_asked_for_are_kept_or_refused() {
    let size = [5, 30, 45];
    let asked = TilingChoice::Size { height: 96, width: 120 };
    let kept = decide(size, asked, GENEROUS).unwrap();
    let tiling = Tiling { height: 96, width: 120, overlap: Overlap { height: 1.0 / 6.0, width: 1.0 / 5.0 } };
    assert_eq!((kept.tiling, kept.rows, kept.columns), (Some(tiling), 3, 4));
    assert_eq!(kept.order, TileOrder::FrameMajor);
    let refused = decide(size, asked, 1 << 20).unwrap_err().to_string();
    assert!(refused.contains("in these tiles"), "{refused}");
    let uneven = decide(size, TilingChoice::Size { height: 64, width: 96 }, GENEROUS).unwrap_err();
    assert!(matches!(uneven, Error::Tiling { .. }), "{uneven}");
    let small = decide([5, 12, 15], asked, GENEROUS).unwrap();
    assert_eq!((small.tiling, small.reason), (None, WHOLE_SMALL));
}

#[test]
fn memory_does_not_grow_with_the_clip() {
    for tiling in [TilingChoice::Off, TilingChoice::Size { height: 96, width: 120 }] {
        let needed = |frames| {
            let memory = decide([frames, 30, 45], tiling, GENEROUS).unwrap().memory.unwrap();
            memory.total() - memory.process
        };
        assert_eq!(needed(13), needed(49));
    }
}

#[test]
fn nor_with_a_clip_in_tiles_along_time() {
    let model = Framewise::new(SurplusFrame::First, false);
    let decided = |frames, frame_tiling| {
        let options = RunOptions { frame_tiling, tiling: TilingChoice::Off, ..RunOptions::default() };
        plan_of(&model, [frames, 9, 10], options, GENEROUS).unwrap().1
    };
    let needed = |decision: &TilingDecision| {
        let memory = decision.memory.unwrap();
        memory.total() - memory.process
    };
    let [short, long] = [13, 49].map(|frames| decided(frames, FrameTilingChoice::Usual));
    assert_eq!(needed(&short), needed(&long));
    assert_eq!((short.frame_tiles, long.frame_tiles), (6, 24));
    assert!(long.to_string().contains("whole frames, in 24 tiles along time of 16 frames at a stride of 8"), "{long}");
    let whole = decided(13, FrameTilingChoice::Off);
    assert_eq!((whole.frame_tiling, whole.frame_tiles), (None, 1));
    // A strip of frames for the next tile, and those that leave.
    assert!(short.memory.unwrap().frames > whole.memory.unwrap().frames);
}

#[test]
fn the_report_says_what_was_chosen() {
    let vae = demo::vae().unwrap();
    let latents = Latents { data: vec![0.25; 16 * 9 * 10], shape: [1, 16, 1, 9, 10] };
    let options = RunOptions { tiling: TilingChoice::Size { height: 32, width: 40 }, ..RunOptions::default() };
    let options = RunOptions { overlap: Some(Overlap { height: 0.25, width: 0.2 }), ..options };
    let Report { tiling, program_runs, .. } = vae.decode(&latents, &options, &mut |_, _| Ok(()), &mut ()).unwrap();
    assert_eq!((tiling.rows, tiling.columns, program_runs), (3, 3, 9));
    assert!(tiling.to_string().starts_with("3 x 3 tiles of 32x40 pixels, frame by frame: these tiles were asked"));
}
