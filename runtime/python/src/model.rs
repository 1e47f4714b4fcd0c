//! An open model as Python's sessions have it: `tessera/_session.py` gives it arrays in the layout
//! that is named here, and names and documents what people call.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use frontend::{ConditionKind, Half, Medium, published, read_config};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tessera::media::{ClipShape, FrameBlock, FrameRate};
use tessera::posterior::{Draw, Posterior};
use tessera::{
    HubOptions, LatentContent, LatentScaling, LatentWriter, Latents, ModelSpec, Report, Vae, Video, VideoView, media,
};

use crate::arrays::{Input, InputView, Output};
use crate::blocks::Blocks;
use crate::clip_files::{self, LatentsAsked};
use crate::errors::{ModelError, refused_option, to_python, workbench_to_python};
use crate::options::CallOptions;
use crate::report::{self, to_object};
use crate::watch::Watch;
use crate::{child, compilation, fork, log, verification};

/// A model that is open.
#[pyclass(frozen, weakref, module = "tessera._tessera")]
pub(crate) struct Model {
    vae: Arc<Vae>,
    config_path: Option<PathBuf>,
}

/// Type, shape and bytes of a tensor on disk.
type StoredTensor<'py> = (String, Vec<usize>, Bound<'py, PyBytes>);

/// What is read of a file: values, row-major, and their shape [B, C, T, H, W].
type ReadValues<'py> = (Bound<'py, PyArray1<f32>>, [usize; 5]);

/// Takes what a call makes, a block of a sample's frames at a time.
type Sink<'a> = dyn FnMut(usize, &FrameBlock<'_>) -> tessera::Result<()> + 'a;

/// `"decoder"` or `"encoder"`.
pub(crate) fn half(name: &str) -> PyResult<Half> {
    let half = Half::ALL.into_iter().find(|half| half.to_string() == name);
    half.ok_or_else(|| refused_option("half", format!("expected \"decoder\" or \"encoder\", found {name:?}")))
}

/// The numbers by which pipelines of a published model scale its latents, as far as its
/// configuration has them.
#[pyfunction]
pub(crate) fn published_scaling<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let Some(published) = published().iter().find(|published| published.name == name) else {
        let known: Vec<_> = published().iter().map(|published| published.name).collect();
        return Err(refused_option("name", format!("expected one of {}, found {name:?}", known.join(", "))));
    };
    let (model, _) = read_config(published.config).map_err(|error| ModelError::new_err(error.to_string()))?;
    to_object(py, &report::latent_scaling(&model.latent_scaling()))
}

#[pymethods]
impl Model {
    /// Opens a folder, a pipeline's folder, a file of weights, or an id on the hub. `on_download`
    /// is told of files that are fetched: path, bytes that are here, bytes of all.
    #[new]
    #[pyo3(signature = (model, *, config=None, offline=None, on_download=None))]
    fn new(
        py: Python<'_>,
        model: PathBuf,
        config: Option<PathBuf>,
        offline: Option<bool>,
        on_download: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let mut watch = Watch::new(None, None);
        let mut raised = None;
        let opened = py.detach(|| -> tessera::Result<_> {
            let spec = ModelSpec::parse(&model, config.as_deref())?;
            let mut hub = HubOptions::from_env()?;
            hub.offline = offline.unwrap_or(hub.offline);
            let files = tessera::resolve(&spec, &hub, &mut |download| {
                let told = on_download.as_ref().map_or(Ok(()), |told| {
                    let arguments = (download.file, download.bytes_done, download.bytes_total);
                    Python::attach(|py| told.call1(py, arguments).map(drop))
                });
                match told {
                    Ok(()) => watch.glance(),
                    Err(error) => {
                        raised = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            Ok((Vae::open_prefixed(&files, spec.prefix.as_deref())?, files.config))
        });
        if let Some(raised) = raised {
            return Err(raised);
        }
        let (vae, config_path) = watch.end_call(opened)?;
        Ok(Self { vae: Arc::new(vae), config_path })
    }

    /// The class that config.json names, or that the tensors were found to be.
    #[getter]
    fn class_name(&self) -> &'static str {
        self.vae.model().class_name()
    }

    /// Whether it is a model of images, which are one frame each.
    #[getter]
    fn is_of_images(&self) -> bool {
        self.vae.model().medium() == Medium::Image
    }

    /// Every field of the configuration, as it is in force.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = PyDict::new(py);
        for (name, value) in self.vae.model().fields() {
            config.set_item(name, to_object(py, &value)?)?;
        }
        Ok(config)
    }

    /// The file of the configuration, where there is one.
    #[getter]
    fn config_path(&self) -> Option<PathBuf> {
        self.config_path.clone()
    }

    /// What was passed over: fields of config.json and tensors that the model does not have.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.vae.warnings().to_vec()
    }

    /// What a file was taken for, in sentences.
    #[getter]
    fn account(&self) -> Vec<String> {
        self.vae.account()
    }

    /// What the model is, its weights, and what this machine runs it with.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let info = py.detach(|| report::info(&self.vae))?;
        to_object(py, &info)
    }

    /// The names of all tensors of the weights, the model's own where they are the model's.
    fn tensors(&self) -> Vec<String> {
        self.vae.checkpoint().signatures().map(|tensor| tensor.name.to_owned()).collect()
    }

    /// A tensor of the weights as it is on disk: its type as safetensors names it, shape and bytes;
    /// floats of eight bits come as f32, with their scale. `None` if there is no such tensor.
    fn tensor<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<StoredTensor<'py>>> {
        let checkpoint = self.vae.checkpoint();
        let Some(view) = checkpoint.tensor(name) else { return Ok(None) };
        let shape = view.shape.to_vec();
        let dtype = view.dtype.to_string();
        if !dtype.starts_with("F8") {
            return Ok(Some((dtype, shape, PyBytes::new(py, view.bytes))));
        }
        let values = py.detach(|| checkpoint.to_f32(name)).map_err(to_python)?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(Some(("F32".into(), shape, PyBytes::new(py, &bytes))))
    }

    /// What a half is given beside its input: names, and how many rows and columns a plane of noise
    /// has for one of the input; `None` of numbers.
    fn conditions(&self, half_name: &str) -> PyResult<Vec<(String, Option<usize>)>> {
        let conditions = self.vae.model().conditions(half(half_name)?).into_iter();
        let scale = |kind| match kind {
            ConditionKind::Number { .. } => None,
            ConditionKind::Noise { scale } => Some(scale),
        };
        Ok(conditions.map(|condition| (condition.name, scale(condition.kind))).collect())
    }

    /// The tiles that the model's own `enable_tiling` takes.
    fn usual_tiles<'py>(&self, py: Python<'py>, half_name: &str) -> PyResult<Bound<'py, PyAny>> {
        to_object(py, &report::usual_tiles(self.vae.model(), half(half_name)?))
    }

    /// [B, C, T, H, W] of what `half` makes of an input of this shape.
    fn result_shape(&self, half_name: &str, shape: [usize; 5], options: &Bound<'_, PyDict>) -> PyResult<[usize; 5]> {
        let options = CallOptions::read(options)?;
        let shape = match half(half_name)? {
            Half::Decoder => self.vae.decoded_shape_of(shape, &options.run),
            Half::Encoder => {
                let [batch, channels, frames, height, width] = shape;
                self.vae.encoded_shape(&ClipShape { batch, channels, frames, height, width })
            }
        };
        Ok(shape.map_err(to_python)?.axes())
    }

    /// How a call would go: tiles, steps, memory.
    fn plan<'py>(
        &self,
        py: Python<'py>,
        half_name: &str,
        shape: [usize; 5],
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (half, options) = (half(half_name)?, CallOptions::read(options)?);
        let plan = py.detach(|| self.vae.plan(half, shape, &options.run)).map_err(to_python)?;
        to_object(py, &report::plan(&plan, self.vae.model().medium()))
    }

    /// The numbers by which the model's pipeline scales latents.
    fn latent_scaling<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let scaling = py.detach(|| self.vae.latent_scaling()).map_err(to_python)?;
        to_object(py, &report::latent_scaling(&scaling))
    }

    /// A pipeline's latents [B, C, T, H, W] as the decoder takes them, row-major.
    fn unscaled<'py>(
        &self,
        py: Python<'py>,
        latents: (Bound<'py, PyAny>, String),
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        self.rescaled(py, &latents, Latents::unscale)
    }

    /// Latents [B, C, T, H, W] as the model's pipeline keeps them, row-major.
    fn scaled<'py>(
        &self,
        py: Python<'py>,
        latents: (Bound<'py, PyAny>, String),
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        self.rescaled(py, &latents, Latents::scale)
    }

    /// Latents of moments [B, C, T, H, W], row-major: their mean, or a draw of this seed.
    #[pyo3(signature = (moments, seed=None))]
    fn drawn<'py>(
        &self,
        py: Python<'py>,
        moments: (Bound<'py, PyAny>, String),
        seed: Option<u64>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let input = Input::new(&moments.0, &moments.1)?;
        let [_, channels, frames, height, width] = input.shape()?;
        let draw = seed.map_or(Draw::Mean, |seed| Draw::Sample { seed });
        let mut posterior = Posterior::new(draw, self.vae.model().channels().latents, channels);
        let view = input.view();
        let values = view.values();
        let samples = values.chunks_exact((channels * frames * height * width).max(1));
        let latents = samples.flat_map(|data| posterior.latents(&FrameBlock { data, frames })).collect();
        Ok(PyArray1::from_vec(py, latents))
    }

    /// Decodes unscaled latents to frames, both [B, C, T, H, W], and tells what that has cost.
    fn decode<'py>(
        &self,
        py: Python<'py>,
        latents: (Bound<'py, PyAny>, String),
        frames: (Bound<'py, PyAny>, String),
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = self.enter(py, options)?;
        let (input, mut output) = (Input::new(&latents.0, &latents.1)?, Output::new(&frames.0, &frames.1)?);
        let shape = input.shape()?;
        let clip = self.vae.decoded_shape_of(shape, &options.run).map_err(to_python)?;
        let (view, mut filler) = (input.view(), output.filler(clip.axes())?);
        let mut watch = options.watch(py);
        let result = py.detach(|| {
            let mut sink = |sample: usize, block: &FrameBlock<'_>| {
                filler.add(sample, block);
                Ok(())
            };
            self.vae.decode(VideoView { data: &view.values(), shape }, &options.run, &mut sink, &mut watch)
        });
        to_object(py, &report::report(&watch.end_call(result)?))
    }

    /// Encodes a clip to the moments of its latents, both [B, C, T, H, W], and tells what that has
    /// cost.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        clip: (Bound<'py, PyAny>, String),
        moments: (Bound<'py, PyAny>, String),
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = self.enter(py, options)?;
        let (input, mut output) = (Input::new(&clip.0, &clip.1)?, Output::new(&moments.0, &moments.1)?);
        let shape @ [batch, channels, frames, height, width] = input.shape()?;
        let clip = ClipShape { batch, channels, frames, height, width };
        let result = self.vae.encoded_shape(&clip).map_err(to_python)?.axes();
        let (view, mut filler) = (input.view(), output.filler(result)?);
        let mut watch = options.watch(py);
        let result = py.detach(|| {
            let mut sink = |sample: usize, block: &FrameBlock<'_>| {
                filler.add(sample, block);
                Ok(())
            };
            self.encode_into(&view, shape, &options, &mut sink, &mut watch)
        });
        to_object(py, &report::report(&watch.end_call(result)?))
    }

    /// Decodes unscaled latents to blocks of frames as they are done.
    fn decode_blocks(
        &self,
        py: Python<'_>,
        latents: (Bound<'_, PyAny>, String),
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Blocks> {
        let options = self.enter(py, options)?;
        let input = Input::new(&latents.0, &latents.1)?;
        let latents = Latents { data: input.view().values().into_owned(), shape: input.shape()? };
        // What is wrong with them is told here and not when frames are asked for.
        self.vae.decoded_shape(&latents, &options.run).map_err(to_python)?;
        Blocks::start(py, self.vae.clone(), latents, options)
    }

    /// Decodes unscaled latents to a clip, pictures or an array in a file, which appears whole or
    /// not at all. Returns paths, their size together, and what it has cost.
    fn decode_to<'py>(
        &self,
        py: Python<'py>,
        latents: (Bound<'py, PyAny>, String),
        path: PathBuf,
        fps: f64,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<(Vec<PathBuf>, u64, Bound<'py, PyAny>)> {
        let options = self.enter(py, options)?;
        let input = Input::new(&latents.0, &latents.1)?;
        let (shape, view) = (input.shape()?, input.view());
        let mut watch = options.watch(py);
        let result = py.detach(|| {
            let clip = self.vae.decoded_shape_of(shape, &options.run)?;
            let create = match self.vae.model().medium() {
                Medium::Video => media::create,
                Medium::Image => media::create_images,
            };
            let mut writer = create(&path, clip, FrameRate::new(fps)?)?;
            let mut sink = |sample: usize, block: &FrameBlock<'_>| Ok(writer.write(sample, block)?);
            let view = VideoView { data: &view.values(), shape };
            let report = self.vae.decode(view, &options.run, &mut sink, &mut watch)?;
            Ok((writer.finish()?, report))
        });
        let (output, report) = watch.end_call(result)?;
        Ok((output.paths, output.bytes, to_object(py, &report::report(&report))?))
    }

    /// Encodes a clip to a file of latents or moments, which appears whole or not at all. Returns its
    /// path and what it has cost. Of `content` the first says that it is moments, else they are
    /// latents: a draw of the seed that comes next, or their mean; and last whether they are scaled.
    fn encode_to<'py>(
        &self,
        py: Python<'py>,
        clip: (Bound<'py, PyAny>, String),
        path: PathBuf,
        content: (bool, Option<u64>, bool),
        options: &Bound<'py, PyDict>,
    ) -> PyResult<(Vec<PathBuf>, Bound<'py, PyAny>)> {
        let options = self.enter(py, options)?;
        let input = Input::new(&clip.0, &clip.1)?;
        let shape @ [batch, channels, frames, height, width] = input.shape()?;
        let view = input.view();
        let mut watch = options.watch(py);
        let result = py.detach(|| {
            let (moments, sample, scaled) = content;
            let draw = sample.map_or(Draw::Mean, |seed| Draw::Sample { seed });
            let content = match (moments, scaled) {
                (true, _) => LatentContent::Moments,
                (_, true) => LatentContent::Scaled { draw, scaling: self.vae.latent_scaling()? },
                (_, false) => LatentContent::Unscaled { draw },
            };
            let moments = self.vae.encoded_shape(&ClipShape { batch, channels, frames, height, width })?;
            let medium = self.vae.model().medium();
            let mut writer = LatentWriter::create(&path, moments, self.vae.latent_form(), content, medium)?;
            let mut sink = |sample: usize, block: &FrameBlock<'_>| writer.write(sample, block);
            let report = self.encode_into(&view, shape, &options, &mut sink, &mut watch)?;
            Ok((writer.finish()?, report))
        });
        let (output, report) = watch.end_call(result)?;
        Ok((output.paths, to_object(py, &report::report(&report))?))
    }

    /// The latents of a file as the decoder takes them, row-major, and their shape [B, C, T, H, W].
    #[pyo3(signature = (source, layout, scaled, size))]
    fn read_latents<'py>(
        &self,
        py: Python<'py>,
        source: PathBuf,
        layout: &str,
        scaled: Option<bool>,
        size: Option<Bound<'py, PyAny>>,
    ) -> PyResult<ReadValues<'py>> {
        log::refresh();
        let asked = LatentsAsked::read(layout, scaled, size.as_ref())?;
        let Latents { data, shape } = py.detach(|| clip_files::latents(&self.vae, &source, &asked))?;
        Ok((PyArray1::from_vec(py, data), shape))
    }

    /// The frames of a clip, from -1 to 1, row-major, and their shape [B, C, T, H, W].
    #[pyo3(signature = (source, size, frames))]
    fn read_frames<'py>(
        &self,
        py: Python<'py>,
        source: PathBuf,
        size: Option<Bound<'py, PyAny>>,
        frames: Option<Bound<'py, PyAny>>,
    ) -> PyResult<ReadValues<'py>> {
        log::refresh();
        let options = clip_files::read_options(size.as_ref(), frames.as_ref())?;
        let mut watch = Watch::new(None, None);
        let result = py.detach(|| clip_files::frames(&self.vae, &source, options, &mut watch));
        let Video { data, shape } = watch.end_call(result)?;
        Ok((PyArray1::from_vec(py, data), shape))
    }

    /// Compares every module's output with another backend's, or a file's.
    fn verify<'py>(
        &self,
        py: Python<'py>,
        half_name: &str,
        input: Option<(Bound<'py, PyAny>, String)>,
        against: &str,
        threshold: Option<f64>,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = self.enter(py, options)?;
        let input = match input {
            None => None,
            Some((array, element)) => {
                let input = Input::new(&array, &element)?;
                Some((input.view().values().into_owned(), input.shape()?))
            }
        };
        let half = half(half_name)?;
        let mut watch = options.watch(py);
        let job = verification::Job { vae: &self.vae, half, input, against, threshold, options: &options.run };
        let result = py.detach(|| job.run(&mut watch));
        to_object(py, &watch.end_call(result)?)
    }

    /// Compiles the steps of a video ahead of time for a device that need not be there.
    fn compile<'py>(&self, py: Python<'py>, asked: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let asked = compilation::Asked::read(asked, self.vae.model(), child::reexecution(py)?)?;
        let mut watch = Watch::new(None, None);
        let told = py.detach(|| asked.run(self.vae.model(), &mut watch));
        to_object(py, &watch.end(told, workbench_to_python)?)
    }

    /// Gives back the memory of all that calls have left.
    fn free(&self, py: Python<'_>) {
        py.detach(|| self.vae.free());
    }
}

impl Model {
    /// The options of a call that is about to run.
    fn enter(&self, py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<CallOptions> {
        fork::enter()?;
        log::refresh();
        let options = CallOptions::read(options)?;
        child::look_at_plugin(py, &options.run)?;
        Ok(options)
    }

    /// Encodes a clip of this shape; its moments go to `sink`, of each sample in the order of frames.
    fn encode_into(
        &self,
        clip: &InputView<'_>,
        shape: [usize; 5],
        options: &CallOptions,
        sink: &mut Sink<'_>,
        watch: &mut Watch,
    ) -> tessera::Result<Report> {
        match clip {
            InputView::Values(data) => {
                let (moments, report) = self.vae.encode(VideoView { data, shape }, &options.run, watch)?;
                let [_, channels, frames, height, width] = moments.shape;
                let values = (channels * frames * height * width).max(1);
                for (sample, data) in moments.data.chunks_exact(values).enumerate() {
                    sink(sample, &FrameBlock { data, frames })?;
                }
                Ok(report)
            }
            // A step's frames at a time: nothing large is copied.
            InputView::Other(view) => {
                let [batch, channels, frames, height, width] = shape;
                let mut given = (0, 0);
                let mut next = |sample: usize, count: usize| {
                    let first = if given.0 == sample { given.1 } else { 0 };
                    given = (sample, first + count);
                    Ok(view.frames(sample, first..first + count))
                };
                let clip = ClipShape { batch, channels, frames, height, width };
                self.vae.encode_stream(&clip, &mut next, &options.run, sink, watch)
            }
        }
    }

    fn rescaled<'py>(
        &self,
        py: Python<'py>,
        latents: &(Bound<'py, PyAny>, String),
        rescale: fn(&mut Latents, &LatentScaling) -> tessera::Result<()>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let input = Input::new(&latents.0, &latents.1)?;
        let mut latents = Latents { data: input.view().values().into_owned(), shape: input.shape()? };
        let scaling = self.vae.latent_scaling().map_err(to_python)?;
        rescale(&mut latents, &scaling).map_err(to_python)?;
        Ok(PyArray1::from_vec(py, latents.data))
    }
}
