//! A clip through its steps: the samples of a batch one after the other, each from its first frames to its last, with what
//! one step leaves to the next. The same for both halves and for every engine.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use frontend::{Config, Half, Step, StepKind, decode_batches, encode_batches};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::observer::{Observer, Progress, Tap};
use crate::steps::Steps;

/// A tensor [B, C, T, H, W] on its way through one half of the model: latents, or a video.
#[derive(Clone, Copy)]
pub(crate) struct ClipInput<'a> {
    /// The half that it goes through.
    pub half: Half,
    /// Row-major.
    pub data: &'a [f32],
    /// [B, C, T, H, W]; their product is the length of `data`, and none is 0.
    pub shape: [usize; 5],
}

impl ClipInput<'_> {
    /// The frames of each step of a sample.
    fn batches(&self) -> Vec<Range<usize>> {
        match self.half {
            Half::Decoder => decode_batches(self.shape[2]).collect(),
            Half::Encoder => encode_batches(self.shape[2]).collect(),
        }
    }

    /// The step over `frames` frames, the first or a later one of its sample.
    fn step(&self, first: bool, frames: usize) -> Step {
        let [_, _, _, height, width] = self.shape;
        let kind = match (self.half, first) {
            (Half::Decoder, true) => StepKind::DecodeFirst,
            (Half::Decoder, false) => StepKind::DecodeNext,
            (Half::Encoder, true) => StepKind::EncodeFirst,
            (Half::Encoder, false) => StepKind::EncodeNext,
        };
        // One sample at a time: group norms gather their statistics within a sample, so this is what the reference computes.
        Step { kind, batch: 1, frames, height, width }
    }

    /// Copies `frames` of `sample` to `to`, [1, C, frames, H, W].
    fn gather(&self, sample: usize, frames: &Range<usize>, to: &mut Vec<f32>) -> Result<(), String> {
        let [_, channels, total, height, width] = self.shape;
        let plane = height * width;
        to.clear();
        to.try_reserve_exact(channels * frames.len() * plane).map_err(|cause| cause.to_string())?;
        for channel in 0..channels {
            let start = (sample * channels + channel) * total;
            to.extend_from_slice(&self.data[(start + frames.start) * plane..(start + frames.end) * plane]);
        }
        Ok(())
    }

    /// Video frames of a step over so many frames of input.
    fn video_frames(&self, config: &Config, frames: usize) -> usize {
        match self.half {
            Half::Decoder => config.decoded_step_frames(frames),
            Half::Encoder => frames,
        }
    }
}

/// Runs every step of `input`. `sink` gets each step's result, [1, C, T, H, W], with the number of its sample, in order.
///
/// # Errors
/// [`Error::Interrupted`] if the observer breaks; what `sink` or the observer return; what declaring, compiling, binding or
/// running a step reports.
pub(crate) fn run<E: Engine>(
    steps: &mut Steps<'_, E>,
    config: &Config,
    input: ClipInput<'_>,
    sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let batches = input.batches();
    let video_frames = |batch: &Range<usize>| input.video_frames(config, batch.len());
    let samples = input.shape[0];
    let frames_total = samples * batches.iter().map(video_frames).sum::<usize>();
    let mut frames_done = 0;
    let mut buffer = vec![];
    for sample in 0..samples {
        let mut states = E::States::default();
        for (number, batch) in batches.iter().enumerate() {
            let step = input.step(number == 0, batch.len());
            input.gather(sample, batch, &mut buffer).map_err(|problem| Error::memory(&step, &problem))?;

            let run_before = steps.account().run;
            let mut started = None;
            let mut observe = |step_share: f64| {
                let run = run_before + started.get_or_insert_with(Instant::now).elapsed();
                let share = (frames_done as f64 + step_share * video_frames(batch) as f64) / frames_total as f64;
                let seconds_left = seconds_left(run, share);
                observer.progress(&Progress { frames_done, frames_total, step_share, share, seconds_left })
            };
            let outputs = steps.run(&step, &buffer, states, &mut observe)?;
            for (module, ty, data) in &outputs.taps {
                observer.tap(&Tap { sample, step: number, module, ty, data })?;
            }
            sink(sample, &outputs.result)?;
            states = outputs.states;
            frames_done += video_frames(batch);
        }
    }
    let all = Progress { frames_done, frames_total, step_share: 0.0, share: 1.0, seconds_left: Some(0.0) };
    match observer.progress(&all) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Interrupted),
    }
}

/// How long the rest takes, if the share `done` took so long.
fn seconds_left(run: Duration, done: f64) -> Option<f64> {
    (done > 0.0).then(|| run.as_secs_f64() * (1.0 - done) / done)
}
