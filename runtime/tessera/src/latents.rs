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

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    use tempfile::TempDir;

    use super::*;
    use LatentsLayout::{Auto, Bchw, Bcthw, Btchw};

    /// A folder with one file of f32 tensors, each counting up from 0, and the file's path.
    fn file(tensors: &[(&str, &[usize])]) -> (TempDir, String) {
        labelled(tensors, &[])
    }

    /// The same with metadata.
    fn labelled(tensors: &[(&str, &[usize])], labels: &[(&str, &str)]) -> (TempDir, String) {
        let data: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, shape)| (0..shape.iter().product()).flat_map(|i: usize| (i as f32).to_le_bytes()).collect())
            .collect();
        let views = tensors
            .iter()
            .zip(&data)
            .map(|((name, shape), data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        save(safetensors::serialize(views, Some(labels)).unwrap())
    }

    fn save(bytes: Vec<u8>) -> (TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let path = path.display().to_string();
        (folder, path)
    }

    #[test]
    fn auto_prefers_the_layout_of_the_pipeline_or_of_the_vae() {
        // Both axes have four: the preferred layout wins.
        let (_folder, path) = file(&[("x", &[1, 4, 4, 1, 2])]);
        let scaled = Latents::read(&path, Auto, 4, false).unwrap();
        let unscaled = Latents::read(&path, Auto, 4, true).unwrap();
        assert_eq!(unscaled.data[..4], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(scaled.data[..4], [0.0, 1.0, 8.0, 9.0]);
        // Only one axis has three: it is the channels, whatever is preferred.
        let (_folder, path) = file(&[("x", &[2, 3, 5, 1, 2])]);
        for unscaled in [false, true] {
            assert_eq!(Latents::read(&path, Auto, 3, unscaled).unwrap().shape, [2, 3, 5, 1, 2]);
            assert_eq!(Latents::read(&path, Auto, 5, unscaled).unwrap().shape, [2, 5, 3, 1, 2]);
        }
        let message = Latents::read(&path, Auto, 16, false).unwrap_err().to_string();
        assert!(message.contains("[2, 3, 5, 1, 2]") && message.contains("16 latent channels"), "{message}");
    }

    #[test]
    fn a_guess_is_said_to_be_one() {
        let (_folder, path) = file(&[("x", &[1, 4, 4, 1, 2])]);
        let account = |layout, unscaled| {
            let (latents, account) = Latents::read_with_account(&path, layout, 4, unscaled).unwrap();
            (account.layout, account.layout_is_guess, account.notes(latents.shape).concat())
        };
        let (layout, is_guess, note) = account(Auto, false);
        assert_eq!((layout, is_guess), (Btchw, true));
        assert!(note.contains("read as btchw") && note.contains("which is a guess"), "{note}");
        let (layout, is_guess, note) = account(Auto, true);
        assert_eq!((layout, is_guess), (Bcthw, true));
        assert!(note.contains("read as bcthw") && note.contains("which is a guess"), "{note}");
        // Who says it has no guess, nor has a file that says it or of which one reading fits.
        assert_eq!(account(Bcthw, false), (Bcthw, false, String::new()));
        assert_eq!(account(Btchw, true), (Btchw, false, String::new()));
        let labelled = labelled(&[("x", &[1, 4, 4, 1, 2])], &[("layout", "bcthw")]);
        let (_, account) = Latents::read_with_account(&labelled.1, Auto, 4, false).unwrap();
        assert_eq!((account.layout, account.layout_is_guess), (Bcthw, false));
        let (_folder, path) = file(&[("x", &[1, 4, 3, 1, 2])]);
        let (_, account) = Latents::read_with_account(&path, Auto, 4, false).unwrap();
        assert_eq!((account.layout, account.layout_is_guess), (Bcthw, false));
    }

    #[test]
    fn four_axes_are_one_video() {
        let (_folder, path) = file(&[("x", &[3, 2, 1, 2])]);
        let (latents, account) = Latents::read_with_account(&path, Auto, 2, false).unwrap();
        assert_eq!((latents.shape, &latents.data[..4]), ([1, 2, 3, 1, 2], &[0.0, 1.0, 4.0, 5.0][..]));
        assert_eq!(account.notes(latents.shape), ["four axes: read as one video, [frames, channels, height, width]"]);
        let (latents, account) = Latents::read_with_account(&path, Auto, 3, false).unwrap();
        assert_eq!((latents.shape, &latents.data[..4]), ([1, 3, 2, 1, 2], &[0.0, 1.0, 2.0, 3.0][..]));
        assert_eq!(account.notes(latents.shape), ["four axes: read as one video, [channels, frames, height, width]"]);
        let message = Latents::read(&path, Auto, 5, false).unwrap_err().to_string();
        assert!(message.contains("5 latent channels"), "{message}");
    }

    #[test]
    fn four_axes_of_images_are_a_batch() {
        let (_folder, path) = file(&[("x", &[3, 2, 1, 2])]);
        let (latents, account) = Latents::read_with_account(&path, Bchw, 2, false).unwrap();
        assert_eq!((latents.shape, &latents.data[..4]), ([3, 2, 1, 1, 2], &[0.0, 1.0, 2.0, 3.0][..]));
        assert_eq!((account.layout, account.notes(latents.shape)), (Bchw, vec![]));
        let message = Latents::read(&path, Bchw, 3, false).unwrap_err().to_string();
        assert!(message.contains("in layout bchw axis 1 is the channels and should be 3, not 2"), "{message}");
        // A file that says so, whatever the model.
        let (_folder, path) = labelled(&[("x", &[2, 2, 1, 2])], &[("layout", "bchw")]);
        assert_eq!(Latents::read(&path, Auto, 2, false).unwrap().shape, [2, 2, 1, 1, 2]);
        // One frame in five axes, in either order.
        for shape in [[1, 2, 1, 1, 2], [1, 1, 2, 1, 2]] {
            let (_folder, path) = file(&[("x", &shape)]);
            assert_eq!(Latents::read(&path, Bchw, 2, false).unwrap().shape, [1, 2, 1, 1, 2]);
        }
        let (_folder, path) = file(&[("parameters", &[2, 4, 1, 2])]);
        let mean = Latents::read(&path, Bchw, 2, true).unwrap();
        assert_eq!((mean.shape, mean.data), ([2, 2, 1, 1, 2], vec![0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0]));
    }

    #[test]
    fn comfyui_files_are_read_as_comfyui_reads_them() {
        // Both layouts fit, and its own is known.
        let (_folder, path) = file(&[("latent_format_version_0", &[0]), ("latent_tensor", &[1, 2, 2, 1, 1])]);
        assert_eq!(Stored::read(&path, 2).unwrap(), Stored { scaled: Some(false), moments: false });
        let (latents, account) = Latents::read_with_account(&path, Auto, 2, false).unwrap();
        assert_eq!((latents.data, account.notes(latents.shape)), (vec![0.0, 1.0, 2.0, 3.0], vec![]));
        let (_folder, path) = file(&[("latent_tensor", &[1, 2, 1, 1, 1])]);
        let (latents, account) = Latents::read_with_account(&path, Auto, 2, true).unwrap();
        assert_eq!(latents.data, [0.0, 1.0 / 0.18215]);
        let notes = account.notes(latents.shape);
        assert!(notes[0].contains("divided by 0.18215, as ComfyUI does"), "{notes:?}");
        assert_eq!(Stored::read(&path, 2).unwrap().scaled, Some(false));
    }

    #[test]
    fn a_named_layout_must_fit_and_is_transposed() {
        let (_folder, path) = file(&[("x", &[1, 2, 3, 1, 2])]);
        let latents = Latents::read(&path, Btchw, 3, true).unwrap();
        assert_eq!(latents.shape, [1, 3, 2, 1, 2]);
        assert_eq!(latents.data, [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]);
        let message = Latents::read(&path, Bcthw, 3, false).unwrap_err().to_string();
        assert!(message.contains("in layout bcthw axis 1 is the channels and should be 3, not 2"), "{message}");
    }

    #[test]
    fn the_tensor_is_named_the_only_one_or_latents() {
        let (_folder, path) = file(&[("a", &[1, 2, 1, 1, 1]), ("b", &[1, 3, 1, 1, 1])]);
        assert_eq!(Latents::read(format!("{path}#b"), Auto, 3, true).unwrap().shape[1], 3);
        let message = Latents::read(&path, Auto, 3, true).unwrap_err().to_string();
        assert!(message.contains("Append `#NAME`") && message.contains("`b` F32 [1, 3, 1, 1, 1]"), "{message}");
        let message = Latents::read(format!("{path}#c"), Auto, 3, true).unwrap_err().to_string();
        assert!(message.contains("no tensor `c`") && message.contains("`a` F32"), "{message}");
        let (_folder, path) = file(&[("a", &[1]), ("latents", &[1, 3, 1, 1, 1])]);
        assert_eq!(Latents::read(&path, Auto, 3, true).unwrap().shape[1], 3);
    }

    #[test]
    fn bad_tensors_are_refused() {
        let complaint = |shape: &[usize]| {
            let (_folder, path) = file(&[("x", shape)]);
            Latents::read(&path, Auto, 2, true).unwrap_err().to_string()
        };
        assert!(complaint(&[2, 2, 2]).contains("five axes") && complaint(&[1; 6]).contains("five axes"));
        assert!(complaint(&[1, 2, 0, 2, 2]).contains("an axis is empty"));

        let values = [1.0f32, f32::NAN, 2.0, f32::INFINITY];
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 2, 1, 1, 2], &data).unwrap();
        let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
        let message = Latents::read(&path, Auto, 2, true).unwrap_err().to_string();
        assert!(
            message.contains("2 of 4 values") && message.contains("(NaN) at [0, 0, 0, 0, 1], in frame 0 of sample 0"),
            "{message}"
        );

        let view = TensorView::new(Dtype::I32, vec![1, 1, 1, 1, 4], &data).unwrap();
        let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
        assert!(Latents::read(&path, Auto, 1, true).unwrap_err().to_string().contains("is I32, expected"));
    }

    #[test]
    fn the_frame_of_a_bad_value_is_named() {
        let mut values = [0.5f32; 12];
        values[5] = f32::INFINITY;
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 3, 2, 1, 2], &data).unwrap();
        let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
        let complaint = |layout, channels| Latents::read(&path, layout, channels, true).unwrap_err().to_string();
        assert!(complaint(Bcthw, 3).contains("(inf) at [0, 1, 0, 0, 1], in frame 0 of sample 0"));
        let message = complaint(Btchw, 2);
        assert!(message.contains("(inf) at [0, 1, 0, 0, 1], in frame 1 of sample 0"), "{message}");
    }

    #[test]
    fn of_moments_the_mean_is_taken() {
        let (_folder, path) = file(&[("parameters", &[2, 4, 1, 1, 2])]);
        assert_eq!(Stored::read(&path, 2).unwrap(), Stored { scaled: Some(false), moments: true });
        let mean = Latents::read(&path, Auto, 2, true).unwrap();
        assert_eq!((mean.shape, mean.data), ([2, 2, 1, 1, 2], vec![0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0]));
        // Latents of this name are latents.
        assert_eq!(Stored::read(&path, 4).unwrap(), Stored { scaled: None, moments: false });
        assert_eq!(Latents::read(&path, Auto, 4, true).unwrap().shape, [2, 4, 1, 1, 2]);
    }

    #[test]
    fn latents_in_patches_are_taken_out_of_them() {
        let form = LatentForm { channels: 2, patch: 2, size: None };
        let (_folder, path) = file(&[("x", &[1, 8, 1, 2])]);
        let expected = [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0, 8.0, 10.0, 9.0, 11.0, 12.0, 14.0, 13.0, 15.0];
        let latents = Latents::read(&path, Bchw, form, false).unwrap();
        assert_eq!((latents.shape, &latents.data[..]), ([1, 2, 1, 2, 4], &expected[..]));
        assert_eq!(Stored::read(&path, form).unwrap(), Stored { scaled: None, moments: false });
        let (_folder, path) = file(&[("x", &[1, 2, 2, 4])]);
        assert_eq!(Latents::read(&path, Bchw, form, false).unwrap().shape, [1, 2, 1, 2, 4]);
        // ComfyUI keeps those of such models as the diffusion model has them.
        for (shape, scaled) in [([1, 8, 1, 2], true), ([1, 2, 2, 4], false)] {
            let (_folder, path) = file(&[(COMFY_NAME, &shape), (COMFY_MARK, &[0])]);
            assert_eq!(Stored::read(&path, form).unwrap().scaled, Some(scaled), "{shape:?}");
        }
        let (_folder, path) = file(&[("x", &[1, 4, 2, 4])]);
        let message = Latents::read(&path, Bchw, form, false).unwrap_err().to_string();
        assert!(message.contains("should be 2, or 8 in patches of 2x2, not 4"), "{message}");
    }

    #[test]
    fn patches_in_a_row_are_an_image() {
        let (_folder, path) = file(&[("x", &[2, 2, 8])]);
        let form = LatentForm { channels: 2, patch: 1, size: Some([2, 4]) };
        let latents = Latents::read(&path, Bchw, form, false).unwrap();
        assert_eq!(latents.shape, [2, 2, 1, 2, 4]);
        assert_eq!(latents.data[..8], [0.0, 1.0, 8.0, 9.0, 2.0, 3.0, 10.0, 11.0]);
        assert_eq!(latents.data[8..12], [4.0, 5.0, 12.0, 13.0]);
        let complaint = |form| Latents::read(&path, Bchw, form, false).unwrap_err().to_string();
        let message = complaint(LatentForm { size: None, ..form });
        assert!(message.contains("`x` is 2 patches of 2x2 in a row, which are no square"), "{message}");
        let message = complaint(LatentForm { size: Some([4, 4]), ..form });
        assert!(message.contains("not those of latents of 4x4"), "{message}");
        let message = complaint(LatentForm::from(3));
        assert!(message.contains("have five axes"), "{message}");
        let (_folder, path) = file(&[("x", &[1, 4, 8])]);
        assert_eq!(Latents::read(&path, Bchw, 2, false).unwrap().shape, [1, 2, 1, 4, 4]);
    }

    #[test]
    fn half_precision_is_read() {
        let f: Vec<u8> = [0.5f32, -3.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let b: Vec<u8> = [0.5f32, -3.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        for (dtype, data) in [(Dtype::F16, f), (Dtype::BF16, b)] {
            let view = TensorView::new(dtype, vec![1, 2, 1, 1, 1], &data).unwrap();
            let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
            assert_eq!(Latents::read(&path, Auto, 2, true).unwrap().data, [0.5, -3.0]);
        }
    }
}
