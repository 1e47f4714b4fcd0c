//! A tiny model with random weights, written to a folder, for the tests of the library and of the
//! command line.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use frontend::{Autoencoder, Half, parameters, read_config};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

/// Two levels: twice the frames, height and width of the latents.
pub(crate) const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKLCogVideoX",
  "block_out_channels": [8, 16],
  "down_block_types": ["CogVideoXDownBlock3D", "CogVideoXDownBlock3D"],
  "up_block_types": ["CogVideoXUpBlock3D", "CogVideoXUpBlock3D"],
  "latent_channels": 4,
  "layers_per_block": 1,
  "norm_num_groups": 4,
  "sample_height": 16,
  "sample_width": 24,
  "scaling_factor": 0.5
}"#;

/// A tensor of a checkpoint.
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: Dtype,
    pub(crate) bytes: Vec<u8>,
}

/// Numbers in [-1, 1) that look random and are always the same.
pub(crate) fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn declared() -> Arc<dyn Autoencoder> {
    read_config(CONFIG).unwrap().0
}

/// The tensors of both halves, in all the element types that are read.
pub(crate) fn tensors() -> Vec<Tensor> {
    tensors_of(&*declared())
}

/// The same of another configuration.
pub(crate) fn tensors_of(model: &dyn Autoencoder) -> Vec<Tensor> {
    let both = [Half::Encoder, Half::Decoder].map(|half| parameters(model, half).unwrap());
    both.into_iter().flatten().enumerate().map(|(i, (name, shape))| tensor(i, name, shape.to_vec())).collect()
}

fn tensor(number: usize, name: String, shape: Vec<usize>) -> Tensor {
    let inputs: usize = shape.iter().skip(1).product();
    let (middle, spread) = match shape.as_slice() {
        [_] if name.ends_with(".weight") => (1.0, 0.2),
        [_] => (0.0, 0.1),
        // A sum of so many products keeps its size.
        _ => (0.0, (3.0 / inputs as f32).sqrt()),
    };
    let values = random(number as u64, shape.iter().product()).into_iter().map(|v| middle + spread * v);
    let dtype = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64][number % 4];
    let bytes = match dtype {
        Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
        Dtype::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
        Dtype::BF16 => values.flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect(),
        _ => values.flat_map(|v| f64::from(v).to_le_bytes()).collect(),
    };
    Tensor { name, shape, dtype, bytes }
}

/// Writes a safetensors file.
pub(crate) fn write(path: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|t| (&t.name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Writes what `torch.save({"state_dict": {name: tensor, ...}})` does: a zip archive of a pickle
/// and of storages.
pub(crate) fn write_torch(path: &Path, tensors: &[Tensor]) {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let sizes = |sizes: &[usize]| {
        let sizes = sizes.iter().flat_map(|size| [b"J", &(*size as i32).to_le_bytes()[..]].concat()).collect();
        [b"(".to_vec(), sizes, b"t".to_vec()].concat()
    };
    let mut pickle = [b"\x80\x02}".to_vec(), text("state_dict"), b"ccollections\nOrderedDict\n)R(".to_vec()].concat();
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (place, tensor) in tensors.iter().enumerate() {
        let storage = match tensor.dtype {
            Dtype::F32 => "Float",
            Dtype::F16 => "Half",
            Dtype::BF16 => "BFloat16",
            _ => "Double",
        };
        let strides: Vec<usize> =
            (0..tensor.shape.len()).map(|axis| tensor.shape[axis + 1..].iter().product()).collect();
        pickle.extend(text(&tensor.name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend(text("storage"));
        pickle.extend(format!("ctorch\n{storage}Storage\n").bytes());
        pickle.extend([text(&place.to_string()), text("cpu")].concat());
        pickle.extend(b"K\x00tQK\x00");
        pickle.extend([sizes(&tensor.shape), sizes(&strides)].concat());
        pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        archive.start_file(format!("archive/data/{place}"), stored).unwrap();
        archive.write_all(&tensor.bytes).unwrap();
    }
    pickle.extend(b"us.");
    archive.start_file("archive/data.pkl", stored).unwrap();
    archive.write_all(&pickle).unwrap();
    archive.finish().unwrap();
}

/// A folder with the tiny model, its tensors changed by `edit`.
pub(crate) fn model(edit: impl FnOnce(&mut Vec<Tensor>)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = tensors();
    edit(&mut tensors);
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    write(&folder.path().join("diffusion_pytorch_model.safetensors"), &tensors);
    folder
}

/// A file `name` in `folder` with one f32 tensor `latents` of this shape.
pub(crate) fn latents_file(folder: &Path, name: &str, shape: &[usize], data: &[f32]) -> PathBuf {
    let path = folder.join(name);
    let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    write(&path, &[Tensor { name: "latents".into(), shape: shape.to_vec(), dtype: Dtype::F32, bytes }]);
    path
}

/// Runs the binary in `folder`.
pub(crate) fn tessera(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tessera")).args(arguments).current_dir(folder).output().unwrap()
}

/// What a process printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command prints that must succeed and say nothing on stderr.
pub(crate) fn printed(arguments: &[&str], folder: &Path) -> String {
    let output = tessera(arguments, folder);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{arguments:?}");
    text(&output.stdout)
}

/// The names in a folder, in order.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a command that must fail with exit code 1, in one line that has all these parts, and leave
/// the folder as it was.
#[track_caller]
pub(crate) fn refused(folder: &Path, arguments: &[&str], expected: &[&str]) {
    let before = entries(folder);
    let output = tessera(arguments, folder);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{arguments:?}: {stderr}");
    for part in expected {
        assert!(stderr.contains(part), "`{part}` is not in {stderr}");
    }
    assert!(stdout.is_empty(), "{stdout}");
    assert_eq!(entries(folder), before, "{arguments:?}");
}

/// The program with no signal ignored, whatever this process ignores: `nohup`, or a shell without
/// job control, may have started it, and what is ignored is inherited.
pub(crate) fn hearing(program: &str) -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if signal_mask(&status, "SigIgn:") & SIGNALS == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", program]);
    command
}

/// Bits of the signals that the program takes: HUP, INT, TERM.
pub(crate) const SIGNALS: u64 = 1 << 0 | 1 << 1 | 1 << 14;

/// The mask of signals that a process' status has under a name.
pub(crate) fn signal_mask(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    u64::from_str_radix(line.trim(), 16).unwrap()
}
