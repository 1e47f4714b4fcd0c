//! Arguments that name latents, and reading them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use frontend::Medium;
use tessera::fragment::split_fragment;
use tessera::latents::Stored;
use tessera::{Error, LatentForm, Latents, LatentsAccount, LatentsLayout, Vae};

use super::arguments::height_by_width;
use super::run_files::RunFiles;
use super::{Console, Failure, advice};

#[derive(Args)]
#[command(next_help_heading = "Latents")]
pub(super) struct LatentsArguments {
    /// Latents, a tensor with five axes, or four for a single video or, with a model of images, for
    /// a batch of images: safetensors, what torch.save writes, NumPy's .npy and .npz,
    /// or ComfyUI's .latent; in patches where the model's pipeline keeps them so. #TENSOR says which where there are several and none is named
    /// `latents`. Of moments, as `tessera encode --moments` writes them, the mean
    #[arg(long, value_name = "FILE[#TENSOR]")]
    pub(super) latents: Option<PathBuf>,
    /// Order of the latents' axes; `auto` takes what fits the model's channels, if both do: btchw
    /// for a pipeline's latents, bcthw for unscaled ones, and says that it is a guess; with a
    /// model of images bchw, if there are four axes
    #[arg(long, value_name = "LAYOUT", value_enum, default_value_t, requires = "latents")]
    latents_layout: Layout,
    /// Height and width in pixels of an image whose latents are patches in a row, [B, tokens,
    /// channels], as pipelines around transformers return them [default: of a square]
    #[arg(long, value_name = "HxW", value_parser = height_by_width, requires = "latents")]
    latents_size: Option<(usize, usize)>,
    /// The latents are what the model's decode() takes: do not undo the
    /// scaling of its pipeline. Not needed for what `tessera encode` or ComfyUI wrote
    #[arg(long, requires = "latents")]
    unscaled: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Layout {
    #[default]
    Auto,
    Bcthw,
    Btchw,
    Bchw,
}

impl LatentsArguments {
    /// The latents that are named, unscaled, for this model, and how they were read.
    pub(super) fn read(
        &self,
        vae: &Vae,
        console: Console,
        files: &mut RunFiles,
    ) -> Result<Option<(Latents, LatentsAccount)>, Failure> {
        let Some(source) = &self.latents else { return Ok(None) };
        files.reads("the latents", &split_fragment(source).0)?;
        let layout = match self.latents_layout {
            Layout::Auto if vae.model().medium() == Medium::Image => LatentsLayout::Bchw,
            Layout::Auto => LatentsLayout::Auto,
            Layout::Bcthw => LatentsLayout::Bcthw,
            Layout::Btchw => LatentsLayout::Btchw,
            Layout::Bchw => LatentsLayout::Bchw,
        };
        let size = self.latents_size.map(|(height, width)| [height, width].map(|size| vae.model().latent_size(size)));
        let form = LatentForm { size, ..vae.latent_form() };
        let stored = Stored::read(source, form)?;
        if self.unscaled && stored.scaled == Some(true) {
            let problem =
                format!("{} says that they are scaled, --unscaled that they are not; leave it out", source.display());
            return Err(Error::Options { problem }.into());
        }
        if stored.moments {
            console.note(&format!("note: {} holds mean and log-variance: the mean is decoded", source.display()));
        }
        let unscaled = self.unscaled || stored.scaled == Some(false);
        let (mut latents, account) = Latents::read_with_account(source, layout, form, unscaled)?;
        for note in advice::with_layout(&account, account.notes(latents.shape)) {
            console.note(&format!("note: {}: {note}", source.display()));
        }
        if !unscaled {
            latents.unscale(&vae.latent_scaling()?)?;
        }
        Ok(Some((latents, account)))
    }
}

/// The axes of a model's tensors as the reference has them, `[1, 4, 64, 64] [B, C, H, W]`.
pub(super) fn axes(medium: Medium, shape: [usize; 5]) -> String {
    let [batch, channels, _, height, width] = shape;
    match medium {
        Medium::Video => format!("{shape:?} [B, C, T, H, W]"),
        Medium::Image => format!("{:?} [B, C, H, W]", [batch, channels, height, width]),
    }
}
