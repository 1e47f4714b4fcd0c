//! Arguments that name one input of a model, latents or a video, to be held in memory whole.

use std::path::PathBuf;

use clap::Args;
use tessera::whole_run::SMALL;
use tessera::{RunInput, Vae, Video, demo};

use super::arguments::{ArrayArguments, VideoArguments, height_by_width};
use super::latents::LatentsArguments;
use super::run_files::RunFiles;
use super::{Console, Failure};

#[derive(Args)]
pub(super) struct InputArguments {
    #[command(flatten)]
    pub(super) latents: LatentsArguments,
    /// A video to encode, as `tessera encode` takes it, in place of latents to decode
    #[arg(long, value_name = "FILE", help_heading = "Video", conflicts_with = "latents")]
    video: Option<PathBuf>,
    /// Height and width to resize it to, such as 480x720
    #[arg(long, value_name = "HxW", value_parser = height_by_width, requires = "video", help_heading = "Video")]
    size: Option<(usize, usize)>,
    /// Only its first N frames
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        requires = "video",
        help_heading = "Video"
    )]
    frames: Option<u64>,
    #[command(flatten)]
    array: ArrayArguments,
}

impl InputArguments {
    /// The input that is named, if one is.
    pub(super) fn read(&self, vae: &Vae, console: Console, files: &mut RunFiles) -> Result<Option<RunInput>, Failure> {
        if let Some((latents, _)) = self.latents.read(vae, console, files)? {
            return Ok(Some(RunInput::Latents(latents)));
        }
        let Some(video) = self.video.clone() else { return Ok(None) };
        let video = VideoArguments { video, size: self.size, frames: self.frames, array: self.array };
        let video = video.open(vae.model().channels().input, console, files)?;
        let shape = video.shape.axes();
        let [samples, channels, frames, height, width] = shape;
        let mut data = Vec::with_capacity(samples * channels * frames * height * width);
        let mut source = video.frames()?;
        for sample in 0..samples {
            data.extend(source.next(sample, frames)?);
        }
        Ok(Some(RunInput::Clip(Video { data, shape })))
    }
}

/// The input where none is named: a corner of the demo's latents for the demo's model, else noise
/// of that size.
pub(super) fn small(vae: &Vae, is_demo: bool) -> Result<RunInput, Failure> {
    if !is_demo {
        return Ok(RunInput::small(vae));
    }
    let [frames, height, width] = SMALL;
    let mut latents = demo::latents()?;
    latents.unscale(&vae.latent_scaling()?)?;
    Ok(RunInput::Latents(latents.corner(frames, height, width)))
}

/// What a half's run over such an input is called: `decode [1, 16, 3, 4, 6]`.
pub(super) fn named(input: &RunInput) -> String {
    let op = match input {
        RunInput::Latents(_) => "decode",
        RunInput::Clip(_) => "encode",
    };
    format!("{op} {:?}", input.shape())
}
