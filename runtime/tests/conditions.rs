//! What a model is given beside its latents, from the command line: a timestep, a seed of noise.

mod common;

use std::fs;
use std::path::Path;

use common::{latents_file, model, printed, random, refused, tensors_of, write};
use serde_json::Value;
use tempfile::TempDir;
use tessera::tensor_file::TensorFile;

/// A level, before which the decoder is told of a timestep and adds noise.
const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKLLTXVideo",
  "latent_channels": 2,
  "block_out_channels": [4],
  "down_block_types": ["LTXVideoDownBlock3D"],
  "layers_per_block": [1, 1],
  "spatio_temporal_scaling": [true],
  "decoder_block_out_channels": [16],
  "decoder_layers_per_block": [1, 1],
  "decoder_spatio_temporal_scaling": [true],
  "decoder_inject_noise": [true, false],
  "upsample_residual": [true],
  "upsample_factor": [2],
  "timestep_conditioning": true,
  "patch_size": 2
}"#;

const DECODE: [&str; 8] = ["decode", "--model", ".", "--latents", "z.safetensors", "--unscaled", "--quiet", "--output"];

/// A folder with the model and `z.safetensors`, latents of two samples.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = frontend::read_config(CONFIG).unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    write(&folder.path().join("diffusion_pytorch_model.safetensors"), &tensors_of(&*model));
    let shape = [2, 2, 3, 3, 4];
    latents_file(folder.path(), "z.safetensors", &shape, &random(5, shape.iter().product()));
    folder
}

/// The frames of both samples, decoded with these arguments.
fn decoded(folder: &Path, arguments: &[&str]) -> [Vec<f32>; 2] {
    printed(&[&DECODE[..], &["x.safetensors", "--json"], arguments].concat(), folder);
    let file = TensorFile::open(&folder.join("x.safetensors"), "frames").unwrap();
    let mut values = file.to_f32(&file.names()[0]).unwrap();
    let second = values.split_off(values.len() / 2);
    [values, second]
}

#[test]
fn a_timestep_is_one_for_all_samples_or_one_for_each() {
    let folder = workplace();
    let [all, each] = [&["--timestep", "0.5"][..], &["--timestep", "0.5,0.25"]].map(|a| decoded(folder.path(), a));
    assert!(all[0] == each[0] && all[1] != each[1]);
    // What pipelines take.
    assert!(decoded(folder.path(), &[]) == decoded(folder.path(), &["--timestep", "0"]));
    let arguments = [&DECODE[..], &["x.npy", "--timestep", "0.1,0.2,0.3"]].concat();
    let expected = "a timestep is one for all samples, which are 2, or one for each; found 3";
    refused(folder.path(), &arguments, &[expected]);
}

#[test]
fn a_seed_names_the_noise() {
    let folder = workplace();
    let [usual, zero, seven] =
        [&[][..], &["--seed", "0"], &["--seed", "7"]].map(|arguments| decoded(folder.path(), arguments));
    assert!(usual == zero && usual != seven);
}

#[test]
fn other_commands_take_them_too() {
    let folder = workplace();
    let verify =
        ["verify", "--model", ".", "--latents", "z.safetensors", "--unscaled", "--timestep", "0.5", "--seed", "3"];
    let told: Value = serde_json::from_str(&printed(&[&verify[..], &["--json"]].concat(), folder.path())).unwrap();
    assert_eq!(told["passed"], Value::Bool(true));
    let bench = ["bench", "--model", ".", "--frames", "2", "--height", "3", "--width", "4", "--repeats", "1", "--json"];
    let told: Value = serde_json::from_str(&printed(&bench, folder.path())).unwrap();
    assert_eq!(told["step"]["kind"], Value::from("decode-whole"));
    printed(&["info", "--model", "."], folder.path());
}

#[test]
fn a_model_that_takes_none_refuses_them_by_name() {
    let folder = model(|_| {});
    latents_file(folder.path(), "z.safetensors", &[1, 4, 1, 2, 3], &random(5, 24));
    for (option, expected) in [("--timestep", "takes no timestep"), ("--seed", "takes no noise, and so no seed of it")]
    {
        let arguments = [&DECODE[..], &["x.npy", option, "1"]].concat();
        refused(folder.path(), &arguments, &["AutoencoderKLCogVideoX", expected]);
    }
}
