//! Latents and clips in files, read whole: as the command line reads them, but that what it would
//! note goes to the log. Where outputs go, and what killed processes left there. Arrays and calls
//! are not here.

use std::path::{Path, PathBuf};

use frontend::Medium;
use pyo3::prelude::*;
use tessera::latents::Stored;
use tessera::media::read::{self, ClipReader, Frames, ReadOptions, ReadShape};
use tessera::media::{self, ClipShape, FrameBlock, Outputs};
use tessera::{LatentForm, Latents, LatentsLayout, Vae, Video, VideoBuilder, files};

use crate::errors::{refused_option, to_python};
use crate::options::{pair, positive};
use crate::watch::Watch;

/// Frames that are read at a time, between looks at signals.
const FRAMES: usize = 16;
/// Channels of pictures, and of those with transparency.
const RGB: usize = 3;
const RGBA: usize = 4;

/// Layouts of latents by their names.
const LAYOUTS: [LatentsLayout; 4] =
    [LatentsLayout::Auto, LatentsLayout::Bcthw, LatentsLayout::Btchw, LatentsLayout::Bchw];

/// What latents in a file are taken for.
pub(crate) struct LatentsAsked {
    layout: LatentsLayout,
    /// Whether they are scaled as a pipeline has them; `None` where the file has to say it.
    scaled: Option<bool>,
    /// Height and width in pixels of an image whose latents are patches in a row.
    size: Option<(usize, usize)>,
}

impl LatentsAsked {
    pub(crate) fn read(layout: &str, scaled: Option<bool>, size: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let known = || LAYOUTS.map(|layout| format!("\"{layout}\"")).join(", ");
        let layout = LAYOUTS
            .into_iter()
            .find(|known| known.to_string() == layout)
            .ok_or_else(|| refused_option("layout", format!("expected one of {}, found {layout:?}", known())))?;
        let size = size.map(|size| pair("size", size)).transpose()?;
        Ok(Self { layout, scaled, size })
    }
}

/// The latents of `FILE[#TENSOR]` as the decoder of this model takes them.
pub(crate) fn latents(vae: &Vae, source: &Path, asked: &LatentsAsked) -> PyResult<Latents> {
    let &LatentsAsked { layout, scaled, size } = asked;
    let layout = match layout {
        LatentsLayout::Auto if vae.model().medium() == Medium::Image => LatentsLayout::Bchw,
        layout => layout,
    };
    let size = size.map(|(height, width)| [height, width].map(|size| vae.model().latent_size(size)));
    let form = LatentForm { size, ..vae.latent_form() };
    let stored = Stored::read(source, form).map_err(to_python)?;
    if let (Some(said), Some(found)) = (scaled, stored.scaled)
        && said != found
    {
        let found = if found { "they are" } else { "they are not" };
        return Err(refused_option("scaled", format!("{} says that {found}; leave it out", source.display())));
    }
    if stored.moments {
        note(source, "it holds mean and log-variance: the mean is taken");
    }
    let unscaled = stored.scaled.or(scaled) == Some(false);
    let (mut latents, account) = Latents::read_with_account(source, layout, form, unscaled).map_err(to_python)?;
    account.notes(latents.shape).iter().for_each(|sentence| note(source, sentence));
    if !unscaled {
        latents.unscale(&vae.latent_scaling().map_err(to_python)?).map_err(to_python)?;
    }
    Ok(latents)
}

/// How a clip is to be read.
pub(crate) fn read_options(
    size: Option<&Bound<'_, PyAny>>,
    frames: Option<&Bound<'_, PyAny>>,
) -> PyResult<ReadOptions> {
    let size = size.map(|size| pair("size", size)).transpose()?;
    let frames = frames.map(|frames| positive("frames", frames)).transpose()?;
    Ok(ReadOptions::default().with_size(size).with_frames(frames))
}

/// A clip, from -1 to 1, for this model: all its frames.
pub(crate) fn frames(vae: &Vae, source: &Path, options: ReadOptions, watch: &mut Watch) -> tessera::Result<Video> {
    let mut reader = read::open(source, options)?;
    let ReadShape { batch, channels, frames, height, width, .. } = reader.shape();
    if let Some(found) = reader.note() {
        note(source, &found.text);
    }
    // A model that takes transparency takes pictures without it as opaque.
    let is_opaque = vae.model().channels().input == RGBA && channels == RGB;
    if is_opaque {
        note(source, "the model takes transparency too: every pixel is taken as opaque");
    }
    let frames = match frames {
        Some(frames) => frames,
        // Only its end tells.
        None => {
            let mut frames = 0;
            each_block(&mut *reader, watch, |block| frames += block.frames)?;
            reader = read::open(source, options)?;
            frames
        }
    };
    let shape = ClipShape { batch, channels: channels + usize::from(is_opaque), frames, height, width };
    let mut clip = VideoBuilder::new("the clip's frames", shape)?;
    each_block(&mut *reader, watch, |mut block| {
        if is_opaque {
            block.data.resize(block.data.len() + block.frames * height * width, 1.0);
        }
        clip.add(block.sample, &FrameBlock { data: &block.data, frames: block.frames });
    })?;
    Ok(clip.finish())
}

/// Reads a clip to its end.
fn each_block(reader: &mut dyn ClipReader, watch: &mut Watch, mut take: impl FnMut(Frames)) -> tessera::Result<()> {
    while let Some(block) = reader.read(FRAMES)? {
        if watch.glance().is_break() {
            return Err(tessera::Error::Interrupted);
        }
        take(block);
    }
    Ok(())
}

fn note(source: &Path, sentence: &str) {
    log::info!("{}: {sentence}", source.display());
}

/// The files, or the folder, that a clip of so many samples becomes at this path.
#[pyfunction]
pub(crate) fn outputs(path: PathBuf, batch: usize) -> PyResult<Vec<PathBuf>> {
    match media::outputs(&path, batch) {
        Ok(Outputs::Files(paths)) => Ok(paths),
        Ok(Outputs::Folder(path)) => Ok(vec![path]),
        Err(error) => Err(to_python(error)),
    }
}

/// Removes what killed processes left of their outputs in this folder; what is still being written,
/// or is younger than a minute, stays.
#[pyfunction]
pub(crate) fn remove_leftovers(py: Python<'_>, folder: PathBuf) {
    py.detach(|| files::staging::remove_leftovers(&folder));
}
