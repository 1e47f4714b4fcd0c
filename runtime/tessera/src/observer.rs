//! What a caller may see, and stop, while a clip is decoded or encoded.

use std::ops::ControlFlow;

use ir::TensorType;

use crate::error::Result;

/// What is done, or waited for, before a step can run for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preparation {
    /// Waiting for memory that other calls of this process hold.
    Wait,
    /// Declaring the step, the passes, code generation.
    Compile,
    /// Reading its weights and packing them.
    LoadWeights,
}

/// How far a clip has come.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Video frames of all samples that are done.
    pub frames_done: usize,
    /// Video frames of all samples.
    pub frames_total: usize,
    /// Which tile is under way, from 0, row by row; of several at once the first.
    pub tile: usize,
    /// Tiles of a frame.
    pub tiles: usize,
    /// The share of the present step that is done, from 0 to 1; of several at once that of all
    /// together.
    pub step_share: f64,
    /// The share of all steps that is done, from 0 to 1.
    pub share: f64,
    /// Seconds that the steps still to run will take, judged by those that ran; unknown at first.
    pub seconds_left: Option<f64>,
}

/// An activation of a step: what one module of the network returned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap<'a> {
    /// The sample of the batch.
    pub sample: usize,
    /// The step of the sample, from 0.
    pub step: usize,
    /// The tile of the frames, from 0, row by row.
    pub tile: usize,
    /// Which call of the module this is, from 0, for each sample: as the reference makes them,
    /// those of the first tile first, whatever the order in which tiles ran; with tiles along time
    /// those of the first of them before all others.
    pub call: usize,
    /// The module's path, such as `decoder.up_blocks.0.resnets.1`.
    pub module: &'a str,
    /// Its type: a batch of one, channel-first.
    pub ty: &'a TensorType,
    /// Row-major.
    pub data: &'a [f32],
}

/// Watches a clip on its way. `()` is the observer that looks away.
pub trait Observer {
    /// Called before each part of making a step ready, and again and again while a call waits.
    /// Breaking stops the call with [`crate::Error::Interrupted`].
    fn preparing(&mut self, preparation: Preparation) -> ControlFlow<()> {
        let _ = preparation;
        ControlFlow::Continue(())
    }

    /// Called often, between the kernels of a step. Breaking stops the call with
    /// [`crate::Error::Interrupted`].
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let _ = progress;
        ControlFlow::Continue(())
    }

    /// Called behind each step for each activation that [`crate::RunOptions::taps`] asks for, in
    /// the order in which they were computed.
    ///
    /// # Errors
    /// Whatever stops the call.
    fn tap(&mut self, tap: &Tap<'_>) -> Result<()> {
        let _ = tap;
        Ok(())
    }
}

impl Observer for () {}
