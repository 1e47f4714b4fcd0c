//! Networks that several classes describe, each in fields of its own: what the network answers, it
//! answers for all of them, and a class says the rest.

use std::fmt;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect, Medium};
use crate::condition::Condition;
use crate::config_json::Configuration;
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::{LatentScaling, StoredStatistics, Unscaling};
use crate::step::{Half, StepKind};
use crate::tile_rule::{FrameTileRule, TileRule};

/// What is the network's to answer, as [`Autoencoder`] asks it.
pub trait Network {
    /// See [`Autoencoder::medium`].
    fn medium(&self) -> Medium;

    /// See [`Autoencoder::channels`].
    fn channels(&self) -> Channels;

    /// See [`Autoencoder::spatial_compression`].
    fn spatial_compression(&self) -> usize;

    /// See [`Autoencoder::temporal_compression`].
    fn temporal_compression(&self) -> usize;

    /// See [`Autoencoder::size_unit`].
    fn size_unit(&self, half: Half) -> usize {
        let _ = half;
        1
    }

    /// See [`Autoencoder::least_latents`].
    fn least_latents(&self, half: Half) -> usize {
        let _ = half;
        1
    }

    /// See [`Autoencoder::training_size`].
    fn training_size(&self) -> [usize; 2];

    /// See [`Autoencoder::frame_steps`].
    fn frame_steps(&self, half: Half) -> FrameSteps;

    /// See [`Autoencoder::reference_steps`].
    fn reference_steps(&self, half: Half) -> FrameSteps {
        self.frame_steps(half)
    }

    /// See [`Autoencoder::result_frames`].
    fn result_frames(&self, kind: StepKind, frames: usize) -> usize;

    /// See [`Autoencoder::conditions`].
    fn conditions(&self, half: Half) -> Vec<Condition> {
        let _ = half;
        vec![]
    }

    /// See [`Autoencoder::declare`].
    ///
    /// # Errors
    /// As there.
    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError>;

    /// See [`Autoencoder::tile_rule`].
    fn tile_rule(&self, half: Half) -> TileRule;

    /// See [`Autoencoder::frame_tile_rule`].
    fn frame_tile_rule(&self, half: Half) -> Option<FrameTileRule> {
        let _ = half;
        None
    }

    /// See [`Autoencoder::dialects`].
    fn dialects(&self) -> Vec<Dialect>;
}

/// A class that describes a [`Network`]; it is an [`Autoencoder`] by that.
pub trait Describes: Configuration + Clone + fmt::Debug + Send + Sync {
    /// What it describes.
    type Network: Network;

    /// The network.
    fn network(&self) -> Self::Network;

    /// See [`Autoencoder::latent_scaling`].
    fn latent_scaling(&self) -> LatentScaling;

    /// See [`Autoencoder::stored_statistics`].
    fn stored_statistics(&self) -> Option<StoredStatistics> {
        None
    }

    /// See [`Autoencoder::unscaling`].
    fn unscaling(&self) -> Unscaling {
        Unscaling::Outside
    }

    /// See [`Autoencoder::leaves_unread`].
    fn leaves_unread(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// See [`Autoencoder::result_range`].
    fn result_range(&self, half: Half, tiled: bool) -> Option<[f32; 2]> {
        let _ = (half, tiled);
        None
    }
}

impl<C: Describes> Autoencoder for C {
    fn medium(&self) -> Medium {
        self.network().medium()
    }

    fn channels(&self) -> Channels {
        self.network().channels()
    }

    fn spatial_compression(&self) -> usize {
        self.network().spatial_compression()
    }

    fn temporal_compression(&self) -> usize {
        self.network().temporal_compression()
    }

    fn size_unit(&self, half: Half) -> usize {
        self.network().size_unit(half)
    }

    fn least_latents(&self, half: Half) -> usize {
        self.network().least_latents(half)
    }

    fn training_size(&self) -> [usize; 2] {
        self.network().training_size()
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        self.network().frame_steps(half)
    }

    fn reference_steps(&self, half: Half) -> FrameSteps {
        self.network().reference_steps(half)
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        self.network().result_frames(kind, frames)
    }

    fn conditions(&self, half: Half) -> Vec<Condition> {
        self.network().conditions(half)
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        self.network().declare(d, input)
    }

    fn latent_scaling(&self) -> LatentScaling {
        Describes::latent_scaling(self)
    }

    fn stored_statistics(&self) -> Option<StoredStatistics> {
        Describes::stored_statistics(self)
    }

    fn unscaling(&self) -> Unscaling {
        Describes::unscaling(self)
    }

    fn leaves_unread(&self, name: &str) -> bool {
        Describes::leaves_unread(self, name)
    }

    fn tile_rule(&self, half: Half) -> TileRule {
        self.network().tile_rule(half)
    }

    fn frame_tile_rule(&self, half: Half) -> Option<FrameTileRule> {
        self.network().frame_tile_rule(half)
    }

    fn result_range(&self, half: Half, tiled: bool) -> Option<[f32; 2]> {
        Describes::result_range(self, half, tiled)
    }

    fn dialects(&self) -> Vec<Dialect> {
        self.network().dialects()
    }
}
