//! For tests: the demo's model with tiles along time, which it does not have by itself.

use std::sync::Arc;

use frontend::declaration::Declaration;
use frontend::{
    Autoencoder, Channels, ConfigProblem, Configured, FrameSteps, FrameTileRule, Half, LastTile, LatentScaling,
    StepKind, SurplusFrame, TileRule,
};
use ir::{BuildError, Value};

use crate::demo;

/// The demo's model, cut along time.
#[derive(Debug)]
pub(crate) struct Framewise {
    model: Arc<dyn Autoencoder>,
    rule: FrameTileRule,
    /// Whether a clip, or a tile, is one step, of which the first frame is by itself; else it falls
    /// into the demo's steps.
    whole: bool,
}

impl Framewise {
    /// Tiles of 16 frames at a stride of 8.
    pub(crate) fn new(surplus: SurplusFrame, whole: bool) -> Self {
        let rule =
            FrameTileRule { frames: 16, stride: 8, usual: true, surplus: Some(surplus), last: LastTile::BeginsInside };
        Self { model: demo::model().unwrap(), rule, whole }
    }
}

impl Configured for Framewise {
    fn class_name(&self) -> &'static str {
        self.model.class_name()
    }

    fn fields(&self) -> Vec<(&'static str, serde_json::Value)> {
        self.model.fields()
    }

    fn problems(&self) -> Vec<ConfigProblem> {
        self.model.problems()
    }
}

impl Autoencoder for Framewise {
    fn channels(&self) -> Channels {
        self.model.channels()
    }

    fn spatial_compression(&self) -> usize {
        self.model.spatial_compression()
    }

    fn temporal_compression(&self) -> usize {
        self.model.temporal_compression()
    }

    fn training_size(&self) -> [usize; 2] {
        self.model.training_size()
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        if self.whole { FrameSteps::Whole } else { self.model.frame_steps(half) }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        match (self.whole, kind.half) {
            (false, _) => self.model.result_frames(kind, frames),
            (true, Half::Decoder) => (frames - 1) * 4 + 1,
            (true, Half::Encoder) => (frames - 1) / 4 + 1,
        }
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        self.model.declare(d, input)
    }

    fn latent_scaling(&self) -> LatentScaling {
        self.model.latent_scaling()
    }

    fn tile_rule(&self, half: Half) -> TileRule {
        self.model.tile_rule(half)
    }

    fn frame_tile_rule(&self, _half: Half) -> Option<FrameTileRule> {
        Some(self.rule)
    }
}
