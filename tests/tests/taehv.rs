//! TAEHV, of which there are no golden cases, against its authors' formulas written down once more:
//! frame by frame, in loops and in f64, with nothing in common with the declaration.

use std::collections::BTreeMap;
use std::fs;

use frontend::{Half, parameters, read_config};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;
use tessera::{Backend, Precision, RunOptions, Vae, VideoView};
use tests::evaluation::Random;
use tests::{errors, targets};

/// Frames halved twice, patches of 2x2.
const USUAL: &str = r#"{"_class_name": "TAEHV", "latent_channels": 3, "patch_size": 2, "encoder_channels": 6,
    "decoder_channels": [8, 7, 5, 4], "num_blocks": 2}"#;
/// Frames halved three times, no patches.
const LONG: &str = r#"{"_class_name": "TAEHV", "latent_channels": 2, "encoder_channels": 4,
    "decoder_channels": [4, 4, 3, 3], "num_blocks": 1, "encoder_time_downscale": [true, true, true],
    "decoder_time_upscale": [true, true, true]}"#;

/// A frame, [channel, row, column].
#[derive(Clone)]
struct Frame {
    channels: usize,
    height: usize,
    width: usize,
    data: Vec<f64>,
}

impl Frame {
    fn made(channels: usize, height: usize, width: usize, value: impl Fn(usize, usize, usize) -> f64) -> Self {
        let mut data = vec![];
        for c in 0..channels {
            for y in 0..height {
                data.extend((0..width).map(|x| value(c, y, x)));
            }
        }
        Self { channels, height, width, data }
    }

    /// 0 outside.
    fn at(&self, c: usize, y: isize, x: isize) -> f64 {
        let inside = (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x);
        if inside { self.data[(c * self.height + y as usize) * self.width + x as usize] } else { 0.0 }
    }

    fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        Self { data: self.data.iter().map(|value| function(*value)).collect(), ..*self }
    }

    /// The channels of all, one behind the other.
    fn stacked(frames: &[&Frame]) -> Self {
        let data = frames.iter().flat_map(|frame| frame.data.iter().copied()).collect();
        Self { channels: frames.iter().map(|frame| frame.channels).sum(), data, ..*frames[0] }
    }

    fn plus(&self, other: &Frame) -> Self {
        Self { data: self.data.iter().zip(&other.data).map(|(a, b)| a + b).collect(), ..*self }
    }
}

fn relu(frame: &Frame) -> Frame {
    frame.map(|value| value.max(0.0))
}

/// The tensors of a checkpoint by name: shape and values.
type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A half of the authors' network.
struct Authors<'a> {
    weights: &'a Weights,
    half: &'a str,
    layer: usize,
    frames: Vec<Frame>,
}

impl Authors<'_> {
    fn convolved(&self, name: &str, input: &Frame, stride: usize) -> Frame {
        let (shape, weight) = &self.weights[&format!("{name}.weight")];
        let bias = self.weights.get(&format!("{name}.bias"));
        let [outputs, inputs, size, _] = shape[..] else { panic!("{name}: {shape:?}") };
        assert_eq!(inputs, input.channels, "{name}");
        let (before, reach) = ((size / 2) as isize, 2 * (size / 2));
        let [height, width] = [input.height, input.width].map(|length| (length + reach - size) / stride + 1);
        Frame::made(outputs, height, width, |o, y, x| {
            let mut sum = bias.map_or(0.0, |(_, bias)| f64::from(bias[o]));
            for i in 0..inputs {
                for dy in 0..size {
                    for dx in 0..size {
                        let w = weight[((o * inputs + i) * size + dy) * size + dx];
                        let [row, column] = [y * stride + dy, x * stride + dx].map(|place| place as isize - before);
                        sum += f64::from(w) * input.at(i, row, column);
                    }
                }
            }
            sum
        })
    }

    /// The name of the next layer.
    fn name(&mut self) -> String {
        self.layer += 1;
        format!("{}.{}", self.half, self.layer - 1)
    }

    fn each(&mut self, function: impl Fn(&Frame) -> Frame) {
        self.layer += 1;
        self.frames = self.frames.iter().map(function).collect();
    }

    fn convolution(&mut self, stride: usize) {
        let name = self.name();
        self.frames = self.frames.iter().map(|frame| self.convolved(&name, frame, stride)).collect();
    }

    fn block(&mut self) {
        let name = self.name();
        let mut memory = self.frames[0].map(|_| 0.0);
        let mut made = vec![];
        for frame in &self.frames {
            let hidden = self.convolved(&format!("{name}.conv.0"), &Frame::stacked(&[frame, &memory]), 1);
            let hidden = self.convolved(&format!("{name}.conv.2"), &relu(&hidden), 1);
            let hidden = self.convolved(&format!("{name}.conv.4"), &relu(&hidden), 1);
            made.push(relu(&hidden.plus(frame)));
            memory = frame.clone();
        }
        self.frames = made;
    }

    fn pool(&mut self, count: usize) {
        let name = format!("{}.conv", self.name());
        let runs = self.frames.chunks(count).map(|run| Frame::stacked(&run.iter().collect::<Vec<_>>()));
        self.frames = runs.map(|run| self.convolved(&name, &run, 1)).collect();
    }

    fn grow(&mut self, count: usize) {
        let name = format!("{}.conv", self.name());
        let mut made = vec![];
        for frame in &self.frames {
            let all = self.convolved(&name, frame, 1);
            let one = all.data.len() / count;
            made.extend(all.data.chunks(one).map(|data| Frame { data: data.to_vec(), ..*frame }));
        }
        self.frames = made;
    }
}

/// What the authors' decoder makes of latent frames, in [-1, 1].
fn decoded(weights: &Weights, latents: Vec<Frame>, doubles: [bool; 3], blocks: usize, patch: usize) -> Vec<Frame> {
    let mut half = Authors { weights, half: "decoder", layer: 0, frames: latents };
    half.each(|frame| frame.map(|x| (x / 3.0).tanh() * 3.0));
    half.convolution(1);
    half.each(relu);
    for doubles_time in doubles {
        (0..blocks).for_each(|_| half.block());
        half.each(|frame| {
            Frame::made(frame.channels, 2 * frame.height, 2 * frame.width, |c, y, x| {
                frame.at(c, y as isize / 2, x as isize / 2)
            })
        });
        half.grow(if doubles_time { 2 } else { 1 });
        half.convolution(1);
    }
    half.each(relu);
    half.convolution(1);
    let trimmed = (1 << doubles.iter().filter(|doubles| **doubles).count()) - 1;
    let whole = |frame: &Frame| {
        let (channels, height, width) = (frame.channels / (patch * patch), frame.height * patch, frame.width * patch);
        Frame::made(channels, height, width, |c, y, x| {
            let value =
                frame.at((c * patch + y % patch) * patch + x % patch, (y / patch) as isize, (x / patch) as isize);
            value.clamp(0.0, 1.0) * 2.0 - 1.0
        })
    };
    half.frames[trimmed..].iter().map(whole).collect()
}

/// What the authors' encoder makes of frames in [-1, 1].
fn encoded(weights: &Weights, mut video: Vec<Frame>, halves: [bool; 3], blocks: usize, patch: usize) -> Vec<Frame> {
    let unit = 1 << halves.iter().filter(|halves| **halves).count();
    while !video.len().is_multiple_of(unit) {
        video.push(video[video.len() - 1].clone());
    }
    let patches = |frame: &Frame| {
        Frame::made(frame.channels * patch * patch, frame.height / patch, frame.width / patch, |c, y, x| {
            let (channel, row, column) = (c / (patch * patch), c / patch % patch, c % patch);
            (frame.at(channel, (y * patch + row) as isize, (x * patch + column) as isize) + 1.0) / 2.0
        })
    };
    let mut half = Authors { weights, half: "encoder", layer: 0, frames: video.iter().map(patches).collect() };
    half.convolution(1);
    half.each(relu);
    for halves_time in halves {
        half.pool(if halves_time { 2 } else { 1 });
        half.convolution(2);
        (0..blocks).for_each(|_| half.block());
    }
    half.convolution(1);
    half.frames
}

/// A folder with a model of this configuration, and its weights.
fn checkpoint(config: &str) -> (TempDir, Weights) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.json"), config).expect("a file");
    let (model, _) = read_config(config).expect("a configuration");
    let mut random = Random(7);
    let mut weights = Weights::new();
    for (name, shape) in Half::ALL.iter().flat_map(|&half| parameters(&*model, half).expect("parameters")) {
        let scale = 1.7 / (shape.iter().skip(1).product::<usize>() as f64).sqrt();
        let values = (0..shape.iter().product()).map(|_: usize| (random.uniform() * scale) as f32).collect();
        weights.insert(name, (shape.to_vec(), values));
    }
    let bytes: BTreeMap<_, Vec<u8>> = weights
        .iter()
        .map(|(name, (_, values))| (name.clone(), values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = weights.iter().map(|(name, (shape, _))| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).expect("as many values"))
    });
    let path = folder.path().join("diffusion_pytorch_model.safetensors");
    safetensors::serialize_to_file(views, None, &path).expect("a file");
    (folder, weights)
}

/// Numbers of a clip [1, C, T, H, W], and its frames.
fn clip([_, channels, frames, height, width]: [usize; 5], seed: u64) -> (Vec<f32>, Vec<Frame>) {
    let mut random = Random(seed);
    let data: Vec<f32> = (0..channels * frames * height * width).map(|_| random.uniform() as f32).collect();
    let at = |t: usize, c: usize, y: usize, x: usize| f64::from(data[((c * frames + t) * height + y) * width + x]);
    let apart = (0..frames).map(|t| Frame::made(channels, height, width, |c, y, x| at(t, c, y, x))).collect();
    (data, apart)
}

/// The values of frames as a clip [1, C, T, H, W].
fn joined(frames: &[Frame]) -> Vec<f64> {
    let plane = frames[0].height * frames[0].width;
    let channels = 0..frames[0].channels;
    channels.flat_map(|c| frames.iter().flat_map(move |frame| frame.data[c * plane..][..plane].to_vec())).collect()
}

/// Compares both halves on every backend, in the usual steps and in longer ones. `halves` and
/// `doubles` say where frames are halved in the encoder and doubled in the decoder.
fn check(config: &str, [halves, doubles]: [[bool; 3]; 2], blocks: usize, patch: usize) {
    let (folder, weights) = checkpoint(config);
    let vae = Vae::open(folder.path()).expect("the checkpoint opens");
    let channels = vae.model().channels();
    let unit = vae.model().temporal_compression();
    let native = targets(Precision::F32).into_iter();
    let native = native.map(|target| RunOptions::default().with_backend(Backend::Cpu).with_target(target));
    let ways: Vec<_> = native.chain([RunOptions::default().with_backend(Backend::Interpret)]).collect();
    let compare = |what: &str, expected: &[Frame], found: &[f32]| {
        let found: Vec<f64> = found.iter().copied().map(f64::from).collect();
        let (mean, maximum) = errors(&joined(expected), &found);
        assert!(mean < 1e-5 && maximum < 1e-4, "{what}: mean error {mean:.1e}, maximum {maximum:.1e}");
    };
    for latent_frames in [1, 3] {
        let shape = [1, channels.latents, latent_frames, 3, 2];
        let (data, latents) = clip(shape, 11);
        let expected = decoded(&weights, latents, doubles, blocks, patch);
        assert_eq!(expected.len(), vae.model().decoded_frames(latent_frames));
        for options in &ways {
            for step in [1, 2] {
                let options = options.clone().with_step_frames(step);
                let view = VideoView { data: &data, shape };
                let (video, _) = vae.decode_to_memory(view, &options, &mut ()).expect("it decodes");
                compare(&format!("decode {latent_frames} by {step}"), &expected, &video.data);
            }
        }
    }
    for frames in [1, unit, 2 * unit + 1] {
        let shape = [1, channels.input, frames, 16 * patch, 8 * patch];
        let (data, video) = clip(shape, 13);
        let expected = encoded(&weights, video, halves, blocks, patch);
        assert_eq!(expected.len(), vae.model().encoded_frames(frames));
        for options in &ways {
            for step in [1, 2] {
                let options = options.clone().with_step_frames(step);
                let view = VideoView { data: &data, shape };
                let (latents, _) = vae.encode(view, &options, &mut ()).expect("it encodes");
                compare(&format!("encode {frames} by {step}"), &expected, &latents.data);
            }
        }
    }
}

#[test]
fn both_halves_are_the_authors() {
    check(USUAL, [[true, true, false], [false, true, true]], 2, 2);
    check(LONG, [[true; 3]; 2], 1, 1);
}
