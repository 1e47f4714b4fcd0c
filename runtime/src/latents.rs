//! Latents to decode: read from a file, brought to [B, C, T, H, W], and the pipeline's scaling undone.
//!
//! Decoding itself, and which numbers a model scales with, are not known here.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::tensor_file::TensorFile;

/// The tensor taken when a file holds several and none is named; and the name of what is written.
pub(crate) const USUAL_NAME: &str = "latents";
/// The tensor of a distribution's mean and log-variance, [B, 2 C, T, H, W], unscaled: diffusers' attribute of that name.
pub(crate) const MOMENTS_NAME: &str = "parameters";
/// What a missing file should have been.
const LATENTS_HINT: &str = "expected latents as FILE.safetensors or FILE.safetensors#TENSOR";
/// Metadata of a file: the order of the latents' axes, as [`LatentsLayout`] prints it.
pub(crate) const LAYOUT_LABEL: &str = "layout";
/// Metadata of a file: whether its latents are scaled as a pipeline has them, `true` or `false`.
pub(crate) const SCALED_LABEL: &str = "scaled";

/// The order of axes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LatentsLayout {
    /// [B, T, C, H, W] for scaled latents (as the diffusers pipeline saves them), [B, C, T, H, W] for unscaled ones (as
    /// `vae.decode` takes them), if the channel axis fits the model; else the other one if that fits. A file that says its
    /// layout in its metadata, as those we write, is read in that.
    #[default]
    Auto,
    /// [B, C, T, H, W].
    Bcthw,
    /// [B, T, C, H, W].
    Btchw,
}

impl fmt::Display for LatentsLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LatentsLayout::Auto => "auto",
            LatentsLayout::Bcthw => "bcthw",
            LatentsLayout::Btchw => "btchw",
        })
    }
}

impl LatentsLayout {
    /// Where the channels are; `Auto` has no answer.
    fn channel_axis(self) -> Option<usize> {
        match self {
            LatentsLayout::Auto => None,
            LatentsLayout::Bcthw => Some(1),
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

impl Latents {
    /// Reads `FILE.safetensors[#TENSOR]`. Without `#TENSOR` it is the file's only tensor, or the one named `latents`. F32,
    /// F16, BF16 and F64 are accepted. `unscaled` says that the file's values are already those that the decoder takes;
    /// here it only decides which layout [`LatentsLayout::Auto`] prefers: see [`LatentScaling::unscale`]. Of moments (see
    /// [`Stored::moments`]) it is the mean.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`]; [`Error::MissingTensor`] or [`Error::AmbiguousTensor`]; [`Error::WrongDtype`];
    /// [`Error::WrongShape`] unless it has five axes, none of them empty, with `latent_channels` where the layout has
    /// channels; [`Error::NonFinite`].
    pub fn read(
        source: impl AsRef<Path>,
        layout: LatentsLayout,
        latent_channels: usize,
        unscaled: bool,
    ) -> Result<Latents> {
        let (path, tensor) = split_source(source.as_ref());
        let file = TensorFile::open(&path, LATENTS_HINT)?;
        Latents::from_file(&file, tensor.as_deref(), layout, latent_channels, unscaled)
    }

    /// Reads `tensor` of an open file; see [`Self::read`].
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_file(
        file: &TensorFile,
        tensor: Option<&str>,
        layout: LatentsLayout,
        latent_channels: usize,
        unscaled: bool,
    ) -> Result<Latents> {
        let name = choose(file, tensor)?;
        // A name that is not there is reported by this line.
        let data = file.to_f32(&name)?;
        let shape = file.tensor(&name).map(|view| view.shape.to_vec()).unwrap_or_default();
        let wrong_shape = |problem| Error::WrongShape {
            path: file.path().into(),
            tensor: name.clone(),
            found: shape.clone(),
            problem,
        };
        let axes: [usize; 5] = shape.as_slice().try_into().map_err(|_| {
            wrong_shape("latents of a video have five axes: batch, channels, frames, height, width".into())
        })?;
        if axes.contains(&0) {
            return Err(wrong_shape("an axis is empty".into()));
        }
        let labelled = match file.label(LAYOUT_LABEL) {
            Some("bcthw") => LatentsLayout::Bcthw,
            Some("btchw") => LatentsLayout::Btchw,
            _ => LatentsLayout::Auto,
        };
        let layout = if layout == LatentsLayout::Auto { labelled } else { layout };
        if layout != LatentsLayout::Btchw && are_moments(&name, &shape, latent_channels) {
            check_finite(&data, file, &name, axes, LatentsLayout::Bcthw)?;
            return Ok(mean_of_moments(&data, axes));
        }
        let layout = resolve(axes, layout, latent_channels, unscaled).map_err(wrong_shape)?;
        check_finite(&data, file, &name, axes, layout)?;
        Ok(match layout {
            LatentsLayout::Btchw => from_btchw(data, axes),
            _ => Latents { data, shape: axes },
        })
    }
}

impl Latents {
    /// The first `frames` of each sample, and of each the upper left corner; what is smaller stays as it is.
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
    /// Whether they are scaled as a pipeline has them; `None` where nothing says so, as in files of other programs.
    pub scaled: Option<bool>,
    /// Whether it is a tensor `parameters` [B, 2 C, T, H, W]: mean and log-variance, which are never scaled.
    pub moments: bool,
}

impl Stored {
    /// Looks into `FILE.safetensors[#TENSOR]`, for a model of so many latent channels.
    ///
    /// # Errors
    /// Those of [`Latents::read`] for a file that cannot be read, or has no such tensor or several.
    pub fn read(source: impl AsRef<Path>, latent_channels: usize) -> Result<Stored> {
        let (path, tensor) = split_source(source.as_ref());
        let file = TensorFile::open(&path, LATENTS_HINT)?;
        let name = choose(&file, tensor.as_deref())?;
        let moments = file.tensor(&name).is_some_and(|view| are_moments(&name, view.shape, latent_channels));
        let scaled = if moments { Some(false) } else { file.label(SCALED_LABEL).and_then(|value| value.parse().ok()) };
        Ok(Stored { scaled, moments })
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

/// `clip.safetensors#latents` -> the file and the tensor. A file whose own name has a `#` is found too. The file's name may
/// be no Unicode; a tensor's always is.
pub fn split_source(source: &Path) -> (PathBuf, Option<String>) {
    let whole = || (source.to_owned(), None);
    if source.exists() {
        return whole();
    }
    let bytes = source.as_os_str().as_encoded_bytes();
    let Some(at) = bytes.iter().rposition(|byte| *byte == b'#') else { return whole() };
    match std::str::from_utf8(&bytes[at + 1..]) {
        Ok(tensor) if !tensor.is_empty() => (first_bytes(source, at), Some(tensor.to_owned())),
        _ => whole(),
    }
}

/// What stands in front of an ASCII character at this place of a path's bytes.
#[cfg(unix)]
fn first_bytes(path: &Path, count: usize) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(&path.as_os_str().as_bytes()[..count]).into()
}

/// What stands in front of an ASCII character at this place of a path's bytes; what is no Unicode in it is replaced.
#[cfg(not(unix))]
fn first_bytes(path: &Path, count: usize) -> PathBuf {
    String::from_utf8_lossy(&path.as_os_str().as_encoded_bytes()[..count]).into_owned().into()
}

fn choose(file: &TensorFile, named: Option<&str>) -> Result<String> {
    if let Some(name) = named {
        return Ok(name.into());
    }
    let mut names = file.names();
    match names.as_slice() {
        [_] => Ok(names.remove(0)),
        _ if file.tensor(USUAL_NAME).is_some() => Ok(USUAL_NAME.into()),
        _ => Err(Error::AmbiguousTensor { path: file.path().into(), present: file.contents() }),
    }
}

/// The layout to read `axes` in, or what is wrong.
fn resolve(axes: [usize; 5], layout: LatentsLayout, channels: usize, unscaled: bool) -> Result<LatentsLayout, String> {
    let fits = |layout: LatentsLayout| layout.channel_axis().is_some_and(|axis| axes[axis] == channels);
    if layout != LatentsLayout::Auto {
        return match layout.channel_axis() {
            Some(axis) if !fits(layout) => Err(format!(
                "in layout {layout} axis {axis} is the channels and should be {channels}, not {}",
                axes[axis]
            )),
            _ => Ok(layout),
        };
    }
    let both = match unscaled {
        true => [LatentsLayout::Bcthw, LatentsLayout::Btchw],
        false => [LatentsLayout::Btchw, LatentsLayout::Bcthw],
    };
    both.into_iter().find(|&layout| fits(layout)).ok_or_else(|| {
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

/// The numbers of config.json that undo the scaling which a diffusers pipeline does to latents.
///
/// `invert_scale_latents` is not among them: it concerns the image that conditions the image-to-video pipeline of
/// diffusers, whose latents it divides rather than multiplies, and never decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentScaling {
    /// What the pipeline multiplied latents with.
    pub scaling_factor: f64,
    /// What was taken from them before that (as Stable Diffusion 3 has it).
    pub shift_factor: Option<f64>,
    /// A mean for each channel (as Stable Diffusion XL variants have it); only in force together with `latents_std`.
    pub latents_mean: Option<Vec<f64>>,
    /// A standard deviation for each channel; only in force together with `latents_mean`.
    pub latents_std: Option<Vec<f64>>,
}

impl LatentScaling {
    /// Turns a pipeline's latents x into the decoder's z, in place: z = x / scaling_factor, or, with mean and standard
    /// deviation of the channel, z = x * std / scaling_factor + mean; then z += shift_factor. This is the arithmetic of
    /// the diffusers pipelines, done in f64 and rounded once.
    ///
    /// # Errors
    /// [`Error::Scaling`] if the factor is zero, a number is not finite, or a list is not as long as there are channels.
    pub fn unscale(&self, latents: &mut Latents) -> Result<()> {
        self.for_each_channel(latents, |value, offset, deviation| value * deviation / self.scaling_factor + offset)
    }

    /// The inverse of [`Self::unscale`], in the same arithmetic: what a pipeline keeps of the encoder's latents.
    ///
    /// # Errors
    /// As [`Self::unscale`]; [`Error::Scaling`] also if a standard deviation is zero.
    pub fn scale(&self, latents: &mut Latents) -> Result<()> {
        let zero = self.latents_std.iter().flatten().position(|&deviation| deviation == 0.0);
        if let Some(channel) = zero.filter(|_| self.latents_mean.is_some()) {
            let problem = format!("latents_std has 0 for channel {channel}, and cannot be divided by");
            return Err(Error::Scaling { problem });
        }
        self.for_each_channel(latents, |value, offset, deviation| (value - offset) * self.scaling_factor / deviation)
    }

    /// Replaces every value by `formula` of it, the mean and shift together, and the standard deviation of its channel.
    fn for_each_channel(&self, latents: &mut Latents, formula: impl Fn(f64, f64, f64) -> f64) -> Result<()> {
        let [_, channels, frames, height, width] = latents.shape;
        self.check(channels)?;
        let shift = self.shift_factor.unwrap_or(0.0);
        for (i, volume) in latents.data.chunks_exact_mut(frames * height * width).enumerate() {
            let (deviation, mean) = match (&self.latents_std, &self.latents_mean) {
                (Some(deviation), Some(mean)) => (deviation[i % channels], mean[i % channels]),
                _ => (1.0, 0.0),
            };
            for value in volume {
                *value = formula(f64::from(*value), mean + shift, deviation) as f32;
            }
        }
        Ok(())
    }

    fn check(&self, channels: usize) -> Result<()> {
        let fail = |problem: String| Err(Error::Scaling { problem });
        if !self.scaling_factor.is_finite() || self.scaling_factor == 0.0 {
            return fail(format!("scaling_factor is {}, expected a number that is not zero", self.scaling_factor));
        }
        if let Some(shift) = self.shift_factor.filter(|shift| !shift.is_finite()) {
            return fail(format!("shift_factor is {shift}, expected a number"));
        }
        for (name, list) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            let Some(list) = list else { continue };
            if list.len() != channels {
                return fail(format!("{name} has {} numbers, the latents have {channels} channels", list.len()));
            }
            if let Some(channel) = list.iter().position(|value| !value.is_finite()) {
                return fail(format!("{name} has {} for channel {channel}, expected a number", list[channel]));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    use tempfile::TempDir;

    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_tensor_is_named_behind_any_path() {
        use std::os::unix::ffi::OsStrExt;
        let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        let split = |bytes: &[u8]| split_source(&path(bytes));
        assert_eq!(split(b"z\xff.safetensors#a b"), (path(b"z\xff.safetensors"), Some("a b".into())));
        assert_eq!(split(b"a#b#c"), (path(b"a#b"), Some("c".into())));
        for whole in [&b"z\xff"[..], b"z#", b"z#\xff"] {
            assert_eq!(split(whole), (path(whole), None));
        }
    }
    use LatentsLayout::{Auto, Bcthw, Btchw};

    /// A folder with one file of f32 tensors, each counting up from 0, and the file's path.
    fn file(tensors: &[(&str, &[usize])]) -> (TempDir, String) {
        let data: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, shape)| (0..shape.iter().product()).flat_map(|i: usize| (i as f32).to_le_bytes()).collect())
            .collect();
        let views = tensors
            .iter()
            .zip(&data)
            .map(|((name, shape), data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
        save(safetensors::serialize(views, None).unwrap())
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
        assert!(complaint(&[2, 2, 2, 2]).contains("five axes"));
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
    fn half_precision_is_read() {
        let f: Vec<u8> = [0.5f32, -3.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let b: Vec<u8> = [0.5f32, -3.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        for (dtype, data) in [(Dtype::F16, f), (Dtype::BF16, b)] {
            let view = TensorView::new(dtype, vec![1, 2, 1, 1, 1], &data).unwrap();
            let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
            assert_eq!(Latents::read(&path, Auto, 2, true).unwrap().data, [0.5, -3.0]);
        }
    }

    #[test]
    fn scaling_is_undone() {
        let plain = LatentScaling { scaling_factor: 0.5, shift_factor: None, latents_mean: None, latents_std: None };
        let unscaled = |scaling: &LatentScaling| {
            let mut latents = Latents { data: vec![1.0, 2.0, 3.0, 4.0], shape: [2, 2, 1, 1, 1] };
            scaling.unscale(&mut latents).map(|()| latents.data)
        };
        assert_eq!(unscaled(&plain).unwrap(), [2.0, 4.0, 6.0, 8.0]);
        let shifted = LatentScaling { shift_factor: Some(0.25), ..plain.clone() };
        assert_eq!(unscaled(&shifted).unwrap(), [2.25, 4.25, 6.25, 8.25]);
        let per_channel =
            LatentScaling { latents_mean: Some(vec![1.0, -1.0]), latents_std: Some(vec![0.5, 2.0]), ..plain.clone() };
        assert_eq!(unscaled(&per_channel).unwrap(), [2.0, 7.0, 4.0, 15.0]);
        let mean_alone = LatentScaling { latents_std: None, ..per_channel.clone() };
        assert_eq!(unscaled(&mean_alone).unwrap(), [2.0, 4.0, 6.0, 8.0]);

        for scaling in [&plain, &shifted, &per_channel, &mean_alone] {
            let mut latents = Latents { data: unscaled(scaling).unwrap(), shape: [2, 2, 1, 1, 1] };
            scaling.scale(&mut latents).unwrap();
            assert_eq!(latents.data, [1.0, 2.0, 3.0, 4.0]);
        }
        let flat = LatentScaling { latents_std: Some(vec![1.0, 0.0]), ..per_channel.clone() };
        let message = flat.scale(&mut Latents { data: vec![0.0; 2], shape: [1, 2, 1, 1, 1] }).unwrap_err().to_string();
        assert!(message.contains("latents_std has 0 for channel 1"), "{message}");

        let complaint = |scaling| unscaled(&scaling).unwrap_err().to_string();
        assert!(complaint(LatentScaling { scaling_factor: 0.0, ..plain.clone() }).contains("scaling_factor is 0"));
        assert!(complaint(LatentScaling { shift_factor: Some(f64::NAN), ..plain }).contains("shift_factor is NaN"));
        let short = LatentScaling { latents_mean: Some(vec![1.0]), ..per_channel };
        assert!(complaint(short).contains("latents_mean has 1 numbers, the latents have 2 channels"));
    }
}
