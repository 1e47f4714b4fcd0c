//! Latents to decode: read from a file, brought to [B, C, T, H, W]; those of images are of one
//! frame.
//!
//! What a file says of its latents is read here, and what it leaves open is decided, by
//! [`Latents::read_with_account`] with an account of how.
//!
//! ComfyUI's `.latent` is a safetensors file with a tensor `latent_tensor`, [B, C, T, H, W] as its
//! VAE takes it. Files of the time before it marked them with `latent_format_version_0` are scaled
//! by Stable Diffusion's factor, which ComfyUI undoes as it loads them; so is it here.
//!
//! Latents of models whose pipelines keep them in patches may be in them; no decoder takes those, so
//! they are a pipeline's, whoever wrote them.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use frontend::LatentScaling;

use crate::error::{Error, Result};
use crate::fragment::split_fragment;
use crate::latent_form::{LatentForm, out_of_a_row, out_of_patches};
use crate::tensor_file::TensorFile;

/// The name of what is written, and the first of [`USUAL_NAMES`].
pub(crate) const USUAL_NAME: &str = "latents";
/// The tensor of ComfyUI's files.
const COMFY_NAME: &str = "latent_tensor";
/// The tensor, without elements, that says that [`COMFY_NAME`] is as a VAE takes it.
const COMFY_MARK: &str = "latent_format_version_0";
/// What [`COMFY_NAME`] is divided by where the mark is missing, as ComfyUI does it.
const COMFY_OLD_FACTOR: f32 = 0.18215;
/// The tensors taken when a file holds several and none is named, the first that is there;
/// `samples` are ComfyUI's in memory.
const USUAL_NAMES: [&str; 3] = [USUAL_NAME, COMFY_NAME, "samples"];
/// The tensor of a distribution's mean and log-variance, [B, 2 C, T, H, W], unscaled: diffusers'
/// attribute of that name.
pub(crate) const MOMENTS_NAME: &str = "parameters";
/// What a missing file should have been.
const LATENTS_HINT: &str = "expected latents as FILE or FILE#TENSOR";
/// What is wrong with any other number of axes.
const EXPECTED_AXES: &str =
    "latents of a video have five axes: batch, channels, frames, height, width; or four, without the batch";
/// Metadata of a file: the order of the latents' axes, as [`LatentsLayout`] prints it.
pub(crate) const LAYOUT_LABEL: &str = "layout";
/// Metadata of a file: whether its latents are scaled as a pipeline has them, `true` or `false`.
pub(crate) const SCALED_LABEL: &str = "scaled";

/// The order of axes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LatentsLayout {
    /// [B, T, C, H, W] for scaled latents (as the diffusers pipeline saves them), [B, C, T, H, W]
    /// for unscaled ones (as `vae.decode` takes them), if the channel axis fits the model; else
    /// the other one if that fits. A file that says its layout in its metadata, as those we
    /// write, is read in that.
    #[default]
    Auto,
    /// [B, C, T, H, W].
    Bcthw,
    /// [B, T, C, H, W].
    Btchw,
    /// [B, C, H, W], of images. A tensor of five axes is read as `Auto` has it.
    Bchw,
}

impl fmt::Display for LatentsLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LatentsLayout::Auto => "auto",
            LatentsLayout::Bcthw => "bcthw",
            LatentsLayout::Btchw => "btchw",
            LatentsLayout::Bchw => "bchw",
        })
    }
}

impl LatentsLayout {
    /// Where the channels are; `Auto` has no answer.
    fn channel_axis(self) -> Option<usize> {
        match self {
            LatentsLayout::Auto => None,
            LatentsLayout::Bcthw | LatentsLayout::Bchw => Some(1),
            LatentsLayout::Btchw => Some(2),
        }
    }
}

/// Latents in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// The values, row-major.
    pub data: Vec<f32>,
    /// [B, C, T, H, W].
    pub shape: [usize; 5],
}

/// How latents of a file were read: what the file or the caller said, and what was decided where
/// they did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatentsAccount {
    /// Never `Auto`.
    pub layout: LatentsLayout,
    /// Whether the other layout fits the model as well, and nothing said which it is.
    pub layout_is_guess: bool,
    /// Whether the file has four axes, without the batch.
    pub is_single: bool,
    /// Whether an old file of ComfyUI was unscaled as ComfyUI does it.
    pub is_old_comfy: bool,
}

impl LatentsAccount {
    /// What a person should know of it, a sentence each, for latents of this shape.
    pub fn notes(&self, [_, _, frames, ..]: [usize; 5]) -> Vec<String> {
        let LatentsAccount { layout, layout_is_guess, is_single, is_old_comfy } = *self;
        let [second, third] = match layout {
            LatentsLayout::Btchw => ["frames", "channels"],
            _ => ["channels", "frames"],
        };
        let mut notes = vec![];
        if layout_is_guess {
            notes.push(format!(
                "frames and channels are both {frames}: read as {layout}, [batch, {second}, {third}, height, width], which is a \
                 guess"
            ));
        }
        if is_single {
            notes.push(format!("four axes: read as one video, [{second}, {third}, height, width]"));
        }
        if is_old_comfy {
            notes.push(format!(
                "`{COMFY_NAME}` without `{COMFY_MARK}`: divided by {COMFY_OLD_FACTOR}, as ComfyUI does with such a file"
            ));
        }
        notes
    }
}

impl Latents {
    /// Turns a pipeline's latents into the decoder's, in place; see [`LatentScaling::unscale`].
    ///
    /// # Errors
    /// [`Error::Scaling`].
    pub fn unscale(&mut self, scaling: &LatentScaling) -> Result<()> {
        Ok(scaling.unscale(&mut self.data, self.shape)?)
    }

    /// The inverse of [`Self::unscale`]; see [`LatentScaling::scale`].
    ///
    /// # Errors
    /// [`Error::Scaling`].
    pub fn scale(&mut self, scaling: &LatentScaling) -> Result<()> {
        Ok(scaling.scale(&mut self.data, self.shape)?)
    }

    /// Reads `FILE[#TENSOR]`: safetensors, what `torch.save` writes, `.npy` or `.npz`, told apart
    /// by their content. Without `#TENSOR` it is the file's only tensor with elements, or the
    /// one named `latents`, `latent_tensor` or `samples`. F32, F16, BF16 and F64 are accepted,
    /// in five axes, or in four for a single video or, in [`LatentsLayout::Bchw`], a batch of
    /// images. `unscaled` says that the file's values are already those that the decoder takes;
    /// here it only decides which layout [`LatentsLayout::Auto`] prefers: see
    /// [`Self::unscale`]. Of moments (see [`Stored::moments`]) it is the mean. Latents in patches
    /// are taken out of them; [B, tokens, channels] are the patches of images in a row.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`]; [`files::Error::MissingTensor`] or
    /// [`Error::AmbiguousTensor`]; [`files::Error::WrongDtype`]; [`files::Error::WrongShape`]
    /// unless it has these axes, none of them empty, with as many channels as `form` says where the
    /// layout has them; [`Error::PackedSize`]; [`Error::NonFinite`].
    pub fn read(
        source: impl AsRef<Path>,
        layout: LatentsLayout,
        form: impl Into<LatentForm>,
        unscaled: bool,
    ) -> Result<Latents> {
        Ok(Latents::read_with_account(source, layout, form, unscaled)?.0)
    }

    /// [`Self::read`], and how they were read.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with_account(
        source: impl AsRef<Path>,
        layout: LatentsLayout,
        form: impl Into<LatentForm>,
        unscaled: bool,
    ) -> Result<(Latents, LatentsAccount)> {
        let (path, tensor) = split_fragment(source.as_ref());
        let file = TensorFile::open(&path, LATENTS_HINT)?;
        Latents::from_file(&file, tensor.as_deref(), layout, form, unscaled)
    }

    /// Reads `tensor` of an open file; see [`Self::read`].
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_file(
        file: &TensorFile,
        tensor: Option<&str>,
        layout: LatentsLayout,
        form: impl Into<LatentForm>,
        unscaled: bool,
    ) -> Result<(Latents, LatentsAccount)> {
        let form = form.into();
        let name = choose(file, tensor)?;
        let shape = file.shape(&name).unwrap_or_default().to_vec();
        let wrong_shape = |problem| {
            let (path, tensor, found) = (file.path().into(), name.clone(), shape.clone());
            Error::from(files::Error::WrongShape { path, tensor, found, problem })
        };
        if let [samples, tokens, channels] = shape[..] {
            let Some(patch) = form.patch_of_tokens(channels) else {
                return Err(wrong_shape(EXPECTED_AXES.into()));
            };
            if shape.contains(&0) {
                return Err(wrong_shape("an axis is empty".into()));
            }
            let (path, size) = (file.path().to_owned(), form.size);
            let places = form.rows_and_columns(tokens, patch);
            let places = places.ok_or(Error::PackedSize { path, tensor: name.clone(), tokens, patch, size })?;
            let data = file.to_f32(&name)?;
            check_finite(&data, file, &name, [samples, tokens, 1, 1, channels], LatentsLayout::Bcthw)?;
            let patches = out_of_a_row(&data, [samples, channels], places);
            let layout = LatentsLayout::Bchw;
            let account = LatentsAccount { layout, layout_is_guess: false, is_single: false, is_old_comfy: false };
            return Ok((out_of_patches(&patches, patch), account));
        }
        let said = match layout {
            LatentsLayout::Auto | LatentsLayout::Bchw => said_layout(file, &name),
            _ => layout,
        };
        let is_of_images = shape.len() == 4 && [layout, said].contains(&LatentsLayout::Bchw);
        let said = if is_of_images { LatentsLayout::Bchw } else { said };
        let (axes, is_single): ([usize; 5], bool) = match shape[..] {
            [samples, channels, height, width] if is_of_images => ([samples, channels, 1, height, width], false),
            [frames, channels, height, width] => ([1, frames, channels, height, width], true),
            // A name that is not there has no shape, and is reported when it is read.
            [] => ([1; 5], false),
            _ => (shape.as_slice().try_into().map_err(|_| wrong_shape(EXPECTED_AXES.into()))?, false),
        };
        if axes.contains(&0) {
            return Err(wrong_shape("an axis is empty".into()));
        }
        let mut data = file.to_f32(&name)?;
        if shape.is_empty() {
            return Err(wrong_shape(EXPECTED_AXES.into()));
        }
        let unguessed = if is_of_images { LatentsLayout::Bchw } else { LatentsLayout::Bcthw };
        let mut account = LatentsAccount { layout: unguessed, layout_is_guess: false, is_single, is_old_comfy: false };
        if said != LatentsLayout::Btchw && are_moments(&name, &axes, form.channels) {
            check_finite(&data, file, &name, axes, unguessed)?;
            return Ok((mean_of_moments(&data, axes), account));
        }
        let prefers = unscaled || comfy(file, &name).is_some();
        (account.layout, account.layout_is_guess) = resolve(axes, said, form, prefers).map_err(wrong_shape)?;
        check_finite(&data, file, &name, axes, account.layout)?;
        if comfy(file, &name) == Some(Comfy::Old) {
            account.is_old_comfy = true;
            data.iter_mut().for_each(|value| *value /= COMFY_OLD_FACTOR);
        }
        let latents = match account.layout {
            LatentsLayout::Btchw => from_btchw(data, axes),
            _ => Latents { data, shape: axes },
        };
        if form.is_patched(latents.shape[1]) {
            return Ok((out_of_patches(&latents, form.patch), account));
        }
        Ok((latents, account))
    }
}

impl Latents {
    /// The first `frames` of each sample, and of each the upper left corner; what is smaller stays
    /// as it is.
    pub fn corner(&self, frames: usize, height: usize, width: usize) -> Latents {
        let [batch, channels, all_frames, all_rows, all_columns] = self.shape;
        let shape = [batch, channels, frames.min(all_frames), height.min(all_rows), width.min(all_columns)];
        let [.., frames, rows, columns] = shape;
        let mut data = Vec::with_capacity(shape.iter().product());
        for plane in self.data.chunks_exact((all_frames * all_rows * all_columns).max(1)) {
            for frame in plane.chunks_exact(all_rows * all_columns).take(frames) {
                frame.chunks_exact(all_columns).take(rows).for_each(|row| data.extend_from_slice(&row[..columns]));
            }
        }
        Latents { data, shape }
    }
}

/// What a file says of the latents in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Whether they are scaled as a pipeline has them; `None` where nothing says so, as in files of
    /// other programs.
    pub scaled: Option<bool>,
    /// Whether it is a tensor `parameters` [B, 2 C, T, H, W]: mean and log-variance, which are
    /// never scaled.
    pub moments: bool,
}

impl Stored {
    /// Looks into `FILE[#TENSOR]`, for a model whose latents have this form.
    ///
    /// # Errors
    /// Those of [`Latents::read`] for a file that cannot be read, or has no such tensor or several.
    pub fn read(source: impl AsRef<Path>, form: impl Into<LatentForm>) -> Result<Stored> {
        let form = form.into();
        let (path, tensor) = split_fragment(source.as_ref());
        let file = TensorFile::open(&path, LATENTS_HINT)?;
        let name = choose(&file, tensor.as_deref())?;
        let shape = file.shape(&name).unwrap_or_default();
        let moments = are_moments(&name, shape, form.channels);
        let patched = shape.iter().skip(1).take(2).any(|&length| form.is_patched(length));
        let scaled = match comfy(&file, &name) {
            _ if moments => Some(false),
            Some(_) => Some(patched),
            None => file.label(SCALED_LABEL).and_then(|value| value.parse().ok()),
        };
        Ok(Stored { scaled, moments })
    }
}

/// The two ages of ComfyUI's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comfy {
    Marked,
    Old,
}

/// Whether `name` is what ComfyUI saved in this file.
fn comfy(file: &TensorFile, name: &str) -> Option<Comfy> {
    let is_marked = file.shape(COMFY_MARK).is_some();
    (name == COMFY_NAME).then_some(if is_marked { Comfy::Marked } else { Comfy::Old })
}

/// The layout that the file says.
fn said_layout(file: &TensorFile, name: &str) -> LatentsLayout {
    match file.label(LAYOUT_LABEL) {
        Some("bcthw") => LatentsLayout::Bcthw,
        Some("btchw") => LatentsLayout::Btchw,
        Some("bchw") if file.shape(name).is_some_and(|shape| shape.len() == 4) => LatentsLayout::Bchw,
        // ComfyUI knows no other.
        _ if comfy(file, name) == Some(Comfy::Marked) => LatentsLayout::Bcthw,
        _ => LatentsLayout::Auto,
    }
}

fn are_moments(name: &str, shape: &[usize], latent_channels: usize) -> bool {
    name == MOMENTS_NAME && shape.get(1) == Some(&latent_channels.saturating_mul(2))
}

/// The first half of the channels of moments [B, 2 C, T, H, W].
fn mean_of_moments(data: &[f32], [batch, channels, frames, height, width]: [usize; 5]) -> Latents {
    let sample = channels * frames * height * width;
    let means = data.chunks_exact(sample).flat_map(|moments| &moments[..sample / 2]);
    Latents { data: means.copied().collect(), shape: [batch, channels / 2, frames, height, width] }
}

fn choose(file: &TensorFile, named: Option<&str>) -> Result<String> {
    if let Some(name) = named {
        return Ok(name.into());
    }
    let is_empty = |name: &String| file.shape(name).is_some_and(|shape| shape.contains(&0));
    let mut names = file.names();
    if let Some(usual) = USUAL_NAMES.iter().find(|usual| names.iter().any(|name| name == *usual)) {
        return Ok((*usual).into());
    }
    if names.len() > 1 {
        names.retain(|name| !is_empty(name));
    }
    match names.as_slice() {
        [_] => Ok(names.remove(0)),
        _ => Err(Error::AmbiguousTensor { path: file.path().into(), present: file.contents() }),
    }
}

/// The layout to read `axes` in, and whether that is a guess; or what is wrong.
fn resolve(
    axes: [usize; 5],
    layout: LatentsLayout,
    form: LatentForm,
    unscaled: bool,
) -> Result<(LatentsLayout, bool), String> {
    let channels = form.shown();
    let fits = |layout: LatentsLayout| layout.channel_axis().is_some_and(|axis| form.fits(axes[axis]));
    if layout != LatentsLayout::Auto {
        return match layout.channel_axis() {
            Some(axis) if !fits(layout) => Err(format!(
                "in layout {layout} axis {axis} is the channels and should be {channels}, not {}",
                axes[axis]
            )),
            _ => Ok((layout, false)),
        };
    }
    let both = match unscaled {
        true => [LatentsLayout::Bcthw, LatentsLayout::Btchw],
        false => [LatentsLayout::Btchw, LatentsLayout::Bcthw],
    };
    let guess = both.into_iter().all(fits);
    both.into_iter().find(|&layout| fits(layout)).map(|layout| (layout, guess)).ok_or_else(|| {
        format!(
            "the model has {channels} latent channels, but read as bcthw there are {} (and {} frames), read as btchw {} \
             (and {} frames); are these latents of another model?",
            axes[1], axes[2], axes[2], axes[1]
        )
    })
}

fn check_finite(data: &[f32], file: &TensorFile, name: &str, axes: [usize; 5], layout: LatentsLayout) -> Result<()> {
    let Some(first) = data.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let mut index = [0; 5];
    let mut rest = first;
    for (place, size) in index.iter_mut().zip(axes).rev() {
        (*place, rest) = (rest % size, rest / size);
    }
    Err(Error::NonFinite {
        path: file.path().into(),
        tensor: name.into(),
        count: data.iter().filter(|value| !value.is_finite()).count(),
        total: data.len(),
        value: data[first],
        index: Box::new(index),
        frame: if layout == LatentsLayout::Btchw { index[1] } else { index[2] },
    })
}

fn from_btchw(data: Vec<f32>, [batch, frames, channels, height, width]: [usize; 5]) -> Latents {
    let shape = [batch, channels, frames, height, width];
    let plane = height * width;
    let mut out = Vec::with_capacity(data.len());
    for b in 0..batch {
        for c in 0..channels {
            for t in 0..frames {
                let start = ((b * frames + t) * channels + c) * plane;
                out.extend_from_slice(&data[start..start + plane]);
            }
        }
    }
    Latents { data: out, shape }
}
