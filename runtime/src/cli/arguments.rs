//! Arguments that several commands have: the model, the video to read, how to run. What they mean
//! to the library is here too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backend_tpu_stablehlo::pjrt::Optimization;
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use clap::{Args, ValueEnum};
use frontend::Autoencoder;
use tessera::media::read::{self, Axes, ClipReader, KNOWN_INPUTS, ReadOptions, Spooled, ValueRange};
use tessera::media::{ClipShape, FrameRate};
use tessera::model::{ModelSource, locate, resolve_config};
use tessera::options::{MOST_THREADS, usual_program_cache};
use tessera::vae::read_config;
use tessera::{
    Backend, Error, FrameTiling, FrameTilingChoice, HubOptions, MemoryBudget, ModelSpec, Overlap, Parallel, Precision,
    RunOptions, TilingChoice, Vae, demo, resolve,
};

use super::progress::DownloadBar;
use super::run_files::RunFiles;
use super::{Console, advice, interrupt, plugin, streams};

/// Frames read at a time when only their number is wanted.
const COUNTED: usize = 16;

#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArguments {
    /// A folder with the VAE's config.json and weights, a pipeline's folder with `vae/` in it, a
    /// file of weights (safetensors, or of torch.save), or an id on the hub, OWNER/NAME or
    /// OWNER/NAME@REVISION. #PREFIX behind it, such as #ema, takes only weights whose names
    /// begin so, where files hold the model more than once [default: the demo's model]
    #[arg(long, value_name = "MODEL[#PREFIX]")]
    pub(super) model: Option<PathBuf>,
    /// The configuration to use, in place of the config.json beside the weights; of a file of weights
    /// it may leave out what names and shapes of tensors tell, as in {"norm_num_groups": 16}
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(super) config: Option<PathBuf>,
}

impl ModelArguments {
    /// Opens the model, the demo's if none is named; fetches it if need be.
    pub(super) fn open(&self, console: Console, run_files: &mut RunFiles) -> Result<Vae, Error> {
        let Some(model) = &self.model else { return demo::vae() };
        let spec = ModelSpec::parse(model, self.config.as_deref())?;
        let files = match &spec.source {
            ModelSource::Path(path) => locate(path, spec.config.as_deref())?,
            ModelSource::Hub(_) => {
                let mut bar = DownloadBar::new(console);
                resolve(&spec, &HubOptions::from_env()?, &mut |download| bar.show(download))?
            }
        };
        run_files.reads_model(&files)?;
        let vae = Vae::open_prefixed(&files, spec.prefix.as_deref())?;
        for sentence in vae.account() {
            console.note(&format!("note: {}: {sentence}", vae.checkpoint().path().display()));
        }
        for warning in vae.warnings() {
            console.note(&format!("warning: {warning}"));
        }
        Ok(vae)
    }

    /// Reads the model's configuration alone, the demo's if no model is named; fetches that file if
    /// need be. Of a file of weights without one, or with one that may leave out something, the model
    /// that its tensors are found to be.
    pub(super) fn config(&self, console: Console, files: &mut RunFiles) -> Result<Arc<dyn Autoencoder>, Error> {
        let Some(model) = &self.model else { return demo::model() };
        let spec = ModelSpec::parse(model, self.config.as_deref())?;
        if let ModelSource::Path(path) = &spec.source
            && path.is_file()
            && (spec.config.is_some() || locate(path, None)?.config.is_none())
        {
            return Ok(self.open(console, files)?.shared_model());
        }
        let mut bar = DownloadBar::new(console);
        let path = resolve_config(&spec, &HubOptions::from_env()?, &mut |download| bar.show(download))?;
        drop(bar);
        files.reads("the model", &path)?;
        let (model, warnings) = read_config(&path)?;
        warnings.iter().for_each(|warning| console.note(&format!("warning: {}: {warning}", path.display())));
        Ok(model)
    }

    /// The model's name, for reports; what is no Unicode in it is replaced.
    pub(super) fn name(&self) -> Option<String> {
        Some(self.model.as_ref()?.to_string_lossy().into_owned())
    }
}

#[derive(Args)]
#[command(next_help_heading = "Video")]
pub(super) struct VideoArguments {
    #[arg(long, value_name = "FILE", help = format!(
        "The video to read: {KNOWN_INPUTS}; `-` or a named pipe: a stream of y4m, which waits on disk"
    ))]
    pub(super) video: PathBuf,
    /// Height and width to resize to, such as 480x720: scaled until it covers that, and what juts
    /// out is cut off
    #[arg(long, value_name = "HxW", value_parser = height_by_width)]
    pub(super) size: Option<(usize, usize)>,
    /// Only the first N frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) frames: Option<u64>,
    #[command(flatten)]
    pub(super) array: ArrayArguments,
}

/// What an array may not tell of itself.
#[derive(Args, Clone, Copy)]
pub(super) struct ArrayArguments {
    #[arg(long, value_name = "AXES", help_heading = "Video", value_parser = str::parse::<Axes>, help = format!(
        "The axes of an .npy or .safetensors: {} [default: told by where three channels are]", Axes::KNOWN.join(", ")
    ))]
    axes: Option<Axes>,
    /// Which values of an .npy or .safetensors are black and white: -1,1 or 0,1 or 0,255 [default:
    /// told from them, where they leave no doubt]
    #[arg(
        long,
        value_name = "LOW,HIGH",
        help_heading = "Video",
        allow_hyphen_values = true,
        value_parser = str::parse::<ValueRange>
    )]
    range: Option<ValueRange>,
}

/// A video that can be read as often as need be.
pub(super) struct Video {
    path: PathBuf,
    /// What came through it, where the path is that of a stream.
    spooled: Option<Spooled>,
    options: ReadOptions,
    pub(super) shape: ClipShape,
    /// Where the file says it.
    pub(super) rate: Option<FrameRate>,
    /// Whether a channel is added to its own, of pixels that are opaque.
    opaque: bool,
}

/// Channels of pictures, and of those with transparency.
const RGB: usize = 3;
const RGBA: usize = 4;

impl VideoArguments {
    /// The video, for a model that takes so many channels: one that is transparent takes others as
    /// opaque.
    pub(super) fn open(&self, channels: usize, console: Console, files: &mut RunFiles) -> Result<Video, Error> {
        files.reads_video(&self.video)?;
        let frames = self.frames.map(|frames| usize::try_from(frames).unwrap_or(usize::MAX));
        let spooled = streams::spooled(&self.video, frames)?;
        let options = ReadOptions::default().with_size(self.size).with_frames(frames);
        let options = options.with_axes(self.array.axes).with_range(self.array.range);
        let (video, note) = Video::open(self.video.clone(), spooled, options)?;
        if let Some(note) = note {
            console.note(&format!("note: {note}"));
        }
        if (channels, video.shape.channels) == (RGBA, RGB) {
            console.note("note: the model takes transparency too: every pixel is taken as opaque");
            return Ok(video.opaque());
        }
        Ok(video)
    }
}

impl Video {
    /// The video, and what should be known of it.
    fn open(path: PathBuf, spooled: Option<Spooled>, options: ReadOptions) -> Result<(Video, Option<String>), Error> {
        let mut reader = reader(&path, spooled.as_ref(), options)?;
        let read::ReadShape { batch, channels, frames, height, width, rate } = reader.shape();
        let frames = match frames {
            Some(frames) => frames,
            None => count(&mut *reader)?,
        };
        let note = reader.note().map(advice::with_axes);
        let shape = ClipShape { batch, channels, frames, height, width };
        Ok((Video { path, spooled, options, shape, rate, opaque: false }, note))
    }

    /// The same video with a channel behind its own that says so.
    fn opaque(self) -> Video {
        Video { shape: ClipShape { channels: self.shape.channels + 1, ..self.shape }, opaque: true, ..self }
    }

    /// The same video in this size, and so many frames of it.
    pub(super) fn resized(self, height: usize, width: usize, frames: usize) -> Result<Video, Error> {
        let options = self.options.with_size((height, width)).with_frames(frames);
        let (video, _) = Video::open(self.path, self.spooled, options)?;
        Ok(if self.opaque { video.opaque() } else { video })
    }

    /// From the first frame.
    pub(super) fn frames(&self) -> Result<VideoFrames<'_>, Error> {
        Ok(VideoFrames { video: self, reader: reader(&self.path, self.spooled.as_ref(), self.options)? })
    }
}

fn reader(path: &Path, spooled: Option<&Spooled>, options: ReadOptions) -> Result<Box<dyn ClipReader>, Error> {
    Ok(spooled.map_or_else(|| read::open(path, options), |spooled| spooled.open(options))?)
}

/// Gives a video's frames as they are asked for.
pub(super) struct VideoFrames<'a> {
    video: &'a Video,
    reader: Box<dyn ClipReader>,
}

impl VideoFrames<'_> {
    /// The next frames of a sample, [C, T, H, W].
    pub(super) fn next(&mut self, sample: usize, frames: usize) -> Result<Vec<f32>, Error> {
        match self.reader.read(frames)? {
            Some(mut found) if (found.sample, found.frames) == (sample, frames) => {
                if self.video.opaque {
                    let plane = self.video.shape.height * self.video.shape.width;
                    found.data.extend(std::iter::repeat_n(1.0, frames * plane));
                }
                Ok(found.data)
            }
            _ => {
                let problem =
                    format!("it ended before {frames} more frames of sample {sample}; it changed while it was read");
                Err(media::Error::BadClip { path: self.video.path.clone(), problem, remedy: None }.into())
            }
        }
    }
}

/// The frames of a clip that only its end tells.
fn count(reader: &mut dyn ClipReader) -> Result<usize, Error> {
    let mut frames = 0;
    while let Some(found) = reader.read(COUNTED)? {
        if interrupt::asked() {
            return Err(Error::Interrupted);
        }
        frames += found.frames;
    }
    Ok(frames)
}

#[derive(Args)]
#[command(next_help_heading = "Running")]
pub(super) struct RunArguments {
    /// `auto`: frames go through whole if that fits the memory budget, else in the largest tiles
    /// that do; `off`: whole or not at all; `default`: in the model's own tiles; or tiles of this
    /// height and width in pixels, as diffusers' enable_tiling has them
    #[arg(long, value_name = "auto|off|default|HxW", default_value = "auto", value_parser = tiling)]
    tiling: TilingChoice,
    /// With --tiling HxW, the pixels from one tile to the next, down and to the right
    #[arg(long, value_name = "HxW", value_parser = height_by_width, conflicts_with = "tile_overlap")]
    tile_stride: Option<(usize, usize)>,
    /// The share of a tile's height and width that the next one covers too [default: the model's
    /// own]
    #[arg(long, value_name = "H,W", value_parser = overlap)]
    tile_overlap: Option<Overlap>,
    /// Tiles along time of N frames of the sample at a stride of STRIDE, such as 16/12, of models
    /// that have them; `off`: none [default: what the reference does by itself]
    #[arg(long, value_name = "N/STRIDE|off", value_parser = tile_frames)]
    tile_frames: Option<FrameTilingChoice>,
    /// The most memory to hold, such as 8GiB, 500MB, or 70% of what is available [default: 70%]
    #[arg(long, value_name = "SIZE", value_parser = str::parse::<MemoryBudget>)]
    memory_budget: Option<MemoryBudget>,
    /// Latent frames of every step behind the first, for models whose results do not depend on it,
    /// or of which the reference has its caller say it: more of them take more memory, and may be
    /// faster [default: as many as the reference takes; with --backend cpu twice as many where results
    /// do not depend on it and memory allows]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    step_frames: Option<u64>,
    /// Threads, 1 to 1024 [default: as many as the system offers]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u64).range(1..=MOST_THREADS as u64)
    )]
    threads: Option<u64>,
    /// What may run at once, each with its share of the threads, as far as the memory budget
    /// allows: samples of a `batch`, `tiles`, `none`, or `auto`: what the clip has, if its
    /// steps are small. The result is the same. Never time: steps of a clip need what the step
    /// before left them
    #[arg(long, value_name = "auto|batch|tiles|none", default_value = "auto", value_parser = str::parse::<Parallel>)]
    parallel: Parallel,
    /// What to compute with and keep in memory: f32, or bf16 with sums and statistics in f32
    #[arg(long, value_name = "f32|bf16", default_value = "f32", value_parser = precision)]
    dtype: Precision,
    /// What runs the model: native code, a PJRT plugin, or the evaluator that defines every op, far
    /// slower
    #[arg(long, value_enum, default_value_t)]
    backend: BackendName,
    /// With --backend pjrt, the plugin: cpu, tpu, cuda, or the path of a shared library [default:
    /// what TESSERA_PJRT_PLUGIN names]
    #[arg(long, value_name = "PLUGIN", value_parser = plugin::parser())]
    plugin: Option<PluginSpec>,
    /// With --backend pjrt, how hard the plugin optimises: less compiles faster [default: O1 on
    /// TPUs, elsewhere what the plugin chooses]
    #[arg(long, value_name = "O0|O1|O2|O3")]
    optimize: Option<Optimization>,
    /// With --backend pjrt, where compiled programs are kept from run to run, or `off` [default:
    /// TESSERA_CACHE_DIR, or tessera/programs in your folder of caches]
    #[arg(long, value_name = "DIR|off")]
    cache_dir: Option<PathBuf>,
}

/// The folder of compiled programs, if they are to be kept.
pub(super) fn program_cache(asked: Option<&Path>) -> Option<PathBuf> {
    match asked {
        Some(folder) if folder == "off" => None,
        Some(folder) => Some(folder.into()),
        None => usual_program_cache(),
    }
}

/// A backend as it is written.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(super) enum BackendName {
    #[default]
    Cpu,
    Pjrt,
    Interpret,
}

impl From<BackendName> for Backend {
    fn from(name: BackendName) -> Backend {
        match name {
            BackendName::Cpu => Backend::Cpu,
            BackendName::Pjrt => Backend::Pjrt,
            BackendName::Interpret => Backend::Interpret,
        }
    }
}

impl RunArguments {
    /// The backend, as it is written.
    pub(super) fn backend_name(&self) -> String {
        self.backend.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// # Errors
    /// When a PJRT plugin cannot be had or does not take the flags that are set for it.
    pub(super) fn options(&self, files: &mut RunFiles) -> Result<RunOptions, Error> {
        let program_cache = program_cache(self.cache_dir.as_deref());
        if matches!(self.backend, BackendName::Pjrt) {
            let plugin = self.plugin.clone().map_or_else(PluginSpec::from_env, Ok).and_then(|plugin| plugin.locate());
            // One that is not there is told where it is loaded.
            for (what, path) in [("the plugin", plugin.ok()), ("the cache of programs", program_cache.clone())] {
                path.iter().try_for_each(|path| files.reads(what, path))?;
            }
        }
        if matches!(self.backend, BackendName::Pjrt) && ir::knobs::XLA_FLAGS.get().is_some() {
            // A plugin ends its process over a flag that it does not know: not this one.
            let plugin = self.plugin.clone().map_or_else(PluginSpec::from_env, Ok)?;
            plugin::look_at(&plugin.locate()?)?;
        }
        Ok(RunOptions::default()
            .with_backend(self.backend)
            .with_plugin(self.plugin.clone())
            .with_optimization(self.optimize)
            .with_program_cache(program_cache)
            .with_precision(self.dtype)
            .with_threads(self.threads.map(|threads| threads as usize))
            .with_tiling(with_stride(self.tiling, self.tile_stride)?)
            .with_overlap(self.tile_overlap)
            .with_frame_tiling(self.tile_frames.unwrap_or_default())
            .with_step_frames(self.step_frames.map(|frames| usize::try_from(frames).unwrap_or(usize::MAX)))
            .with_parallel(self.parallel)
            .with_memory(self.memory_budget.unwrap_or_default()))
    }
}

pub(super) fn height_by_width(text: &str) -> Result<(usize, usize), String> {
    let sizes = text.split_once(['x', 'X']).and_then(|(h, w)| Some((h.trim().parse().ok()?, w.trim().parse().ok()?)));
    sizes.filter(|&(h, w)| h > 0 && w > 0).ok_or_else(|| "expected HEIGHTxWIDTH in pixels, such as 480x720".into())
}

pub(super) fn tiling(text: &str) -> Result<TilingChoice, String> {
    match text {
        "auto" => Ok(TilingChoice::Auto),
        "off" => Ok(TilingChoice::Off),
        "default" => Ok(TilingChoice::Usual),
        _ => match height_by_width(text) {
            Ok((height, width)) => Ok(TilingChoice::Size { height, width }),
            Err(problem) => Err(format!("{problem}, or `auto`, `off` or `default`")),
        },
    }
}

/// Tiles with what `--tile-stride` says of them.
///
/// # Errors
/// If it says something of tiles that have no size.
pub(super) fn with_stride(tiling: TilingChoice, stride: Option<(usize, usize)>) -> Result<TilingChoice, Error> {
    match (tiling, stride) {
        (_, None) => Ok(tiling),
        (TilingChoice::Size { height, width }, Some((down, right))) => {
            Ok(TilingChoice::Strided { size: [height, width], stride: [down, right] })
        }
        (_, Some(_)) => Err(Error::Options {
            problem: "--tile-stride is of tiles of a size: name it, as in --tiling 256x256".into(),
        }),
    }
}

pub(super) fn overlap(text: &str) -> Result<Overlap, String> {
    let factors = text.split_once(',').and_then(|(h, w)| Some((h.trim().parse().ok()?, w.trim().parse().ok()?)));
    let factors = factors.filter(|(h, w)| [h, w].iter().all(|factor: &&f64| (0.0..1.0).contains(*factor)));
    let (height, width) =
        factors.ok_or("expected two shares of at least 0 and less than 1, such as 0.1667,0.2".to_owned())?;
    Ok(Overlap { height, width })
}

/// Frames of tiles along time, and their stride.
pub(super) fn tile_frames(text: &str) -> Result<FrameTilingChoice, String> {
    if text == "off" {
        return Ok(FrameTilingChoice::Off);
    }
    let numbers = text.split_once('/').and_then(|(n, s)| Some((n.trim().parse().ok()?, s.trim().parse().ok()?)));
    let (frames, stride) = numbers.filter(|&(frames, stride)| frames > 0 && stride > 0).ok_or(
        "expected the frames of a tile and from one to the next, N/STRIDE, such as 16/12, or `off`".to_owned(),
    )?;
    Ok(FrameTilingChoice::Of(FrameTiling { frames, stride }))
}

/// A precision by its name.
pub(super) fn precision(name: &str) -> Result<Precision, String> {
    let known = Precision::ALL.map(Precision::name).join(", ");
    Precision::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| format!("known are {known}"))
}

/// Frames a second.
pub(super) fn frame_rate(text: &str) -> Result<FrameRate, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    FrameRate::new(number).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_tiles_are_height_by_width() {
        assert_eq!(height_by_width("480x720"), Ok((480, 720)));
        assert_eq!(tiling("240X360"), Ok(TilingChoice::Size { height: 240, width: 360 }));
        assert_eq!((tiling("auto"), tiling("off")), (Ok(TilingChoice::Auto), Ok(TilingChoice::Off)));
        assert_eq!(tiling("default"), Ok(TilingChoice::Usual));
        let strided = TilingChoice::Strided { size: [256, 240], stride: [192, 180] };
        let sized = TilingChoice::Size { height: 256, width: 240 };
        assert_eq!(with_stride(sized, Some((192, 180))).unwrap(), strided);
        assert_eq!(with_stride(TilingChoice::Usual, None).unwrap(), TilingChoice::Usual);
        assert!(with_stride(TilingChoice::Auto, Some((192, 180))).is_err());
        for text in ["480", "0x8", "8x", "ax8", "-8x8"] {
            assert!(height_by_width(text).is_err() && tiling(text).is_err(), "{text}");
        }
        let along_time = FrameTiling { frames: 16, stride: 12 };
        assert_eq!(tile_frames("16/12"), Ok(FrameTilingChoice::Of(along_time)));
        assert_eq!(tile_frames("off"), Ok(FrameTilingChoice::Off));
        for text in ["16", "16/", "0/4", "4/0", "-4/4", "16x12", "auto"] {
            assert!(tile_frames(text).unwrap_err().starts_with("expected the frames of a tile"), "{text}");
        }
        assert_eq!(overlap("0.5, 0"), Ok(Overlap { height: 0.5, width: 0.0 }));
        for text in ["0.5", "1,0", "0,-0.1", "NaN,0", "a,b"] {
            assert!(overlap(text).is_err(), "{text}");
        }
    }
}
