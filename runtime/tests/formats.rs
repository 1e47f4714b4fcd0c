//! Weights, latents and configurations in all the forms in which they lie about, through the
//! command line: the same frames as of the plain ones, or one error that says what they are.

mod common;

use std::fs;
use std::path::Path;

use common::{
    CONFIG, Tensor, latents_file, model, printed, random, refused, tensors, tessera, text, write, write_torch,
};
use safetensors::Dtype;
use tempfile::TempDir;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const DECODE: [&str; 7] = ["decode", "--model", ".", "--latents", "z.safetensors", "--output", "out.npy"];

/// A folder with the tiny model and latents for it.
fn workplace() -> TempDir {
    let folder = model(|_| {});
    latents_file(folder.path(), "z.safetensors", &[1, 1, 4, 2, 3], &random(5, 24));
    folder
}

/// What decoding gives, and what it says on stderr.
fn decoded(folder: &Path, arguments: &[&str]) -> (Vec<u8>, String) {
    let output = tessera(arguments, folder);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    let frames = fs::read(folder.join("out.npy")).unwrap();
    fs::remove_file(folder.join("out.npy")).unwrap();
    (frames, text(&output.stderr))
}

/// The tiny model's tensors by other names.
fn renamed(rename: impl Fn(&str) -> String) -> Vec<Tensor> {
    tensors().into_iter().map(|tensor| Tensor { name: rename(&tensor.name), ..tensor }).collect()
}

#[test]
fn weights_by_any_name_are_the_same_weights() {
    let folder = workplace();
    let path = folder.path();
    let (plain, said) = decoded(path, &DECODE);
    assert_eq!(said, "");
    let other = |name: &str| Tensor { name: name.into(), shape: vec![2], dtype: Dtype::F32, bytes: vec![0; 8] };
    type Rename = fn(&str) -> String;
    let cases: [(Rename, &str); 9] = [
        (|name| format!("module.{name}"), "under `module.`"),
        (|name| format!("module._orig_mod.{name}"), "under `module.`, without `_orig_mod` in their names"),
        (|name| format!("vae.{name}"), "under `vae.`"),
        (|name| format!("first_stage_model.{name}"), "under `first_stage_model.`"),
        (|name| format!("model.{name}"), "under `model.`"),
        (|name| format!("what.ever.{name}"), "under `what.ever.`"),
        (
            |name| format!("_fsdp_wrapped_module.{}", name.replace("conv.", "_fsdp_wrapped_module.conv.")),
            "at the top, without `_fsdp_wrapped_module` in their names",
        ),
        (
            |name| format!("state_dict.{}", name.replace("coder.", "coder._checkpoint_wrapped_module.")),
            "under `state_dict.`, without `_checkpoint_wrapped_module` in their names",
        ),
        (|name| name.replace(".weight", ".base_layer.weight"), "at the top, without `base_layer` in their names"),
    ];
    for (rename, said) in cases {
        let mut tensors = renamed(rename);
        if !said.contains("at the top") {
            tensors.extend(["transformer.blocks.0.norm.weight", "text_encoder.encoder.block.0.weight"].map(other));
        }
        write(&path.join(WEIGHTS), &tensors);
        let (frames, note) = decoded(path, &DECODE);
        assert!(frames == plain, "{said}");
        assert_eq!(note.lines().count(), 1, "{note}");
        assert!(note.starts_with(&format!("note: ./{WEIGHTS}: the model's weights are those {said}")), "{note}");
        assert_eq!(note.contains("; 2 other tensors are not read"), !said.contains("at the top"), "{note}");
        let info = text(&tessera(&["info", "--model", "."], path).stdout);
        assert!(info.contains(&format!("  the model's weights are those {said}")), "{info}");
    }
}

#[test]
fn a_model_that_is_there_twice_is_chosen_by_its_prefix() {
    let folder = workplace();
    let path = folder.path();
    let (plain, _) = decoded(path, &DECODE);
    let mut both = renamed(|name| format!("model.{name}"));
    both.extend(
        renamed(|name| format!("ema.{name}"))
            .into_iter()
            .map(|tensor| Tensor { bytes: vec![0; tensor.bytes.len()], ..tensor }),
    );
    write(&path.join(WEIGHTS), &both);
    let told = "more than once, under `ema.` and `model.`; append `#` and one of them to the model's name";
    refused(path, &DECODE, &[WEIGHTS, told]);
    for chosen in [".#model", ".#model.", "./diffusion_pytorch_model.safetensors#model"] {
        assert!(decoded(path, &[&["decode", "--model", chosen], &DECODE[3..]].concat()).0 == plain, "{chosen}");
    }
    let arguments = [&["decode", "--model", ".#vae"], &DECODE[3..]].concat();
    refused(path, &arguments, &["no tensor's name begins with `vae.`", "`ema`, `model`"]);
}

#[test]
fn weights_of_pytorch_are_read_whatever_they_are_called() {
    let folder = workplace();
    let path = folder.path();
    let (plain, _) = decoded(path, &DECODE);
    fs::remove_file(path.join(WEIGHTS)).unwrap();
    let under = "the model's weights are those under `state_dict.`";
    // In a folder under the names that diffusers and transformers give, alone under any.
    for name in ["diffusion_pytorch_model.bin", "pytorch_model.bin"] {
        write_torch(&path.join(name), &tensors());
        let (frames, note) = decoded(path, &DECODE);
        assert!(frames == plain && note.contains(under), "{name}: {note}");
        fs::remove_file(path.join(name)).unwrap();
    }
    for name in ["vae.pt", "vae.pth", "vae.ckpt", "vae.safetensors", "vae"] {
        write_torch(&path.join(name), &tensors());
        let (frames, note) = decoded(path, &[&["decode", "--model", name], &DECODE[3..]].concat());
        assert!(frames == plain && note.contains(under), "{name}: {note}");
    }
    // A safetensors file is one by any name, and comes first in a folder.
    write(&path.join("vae.bin"), &tensors());
    let (frames, note) = decoded(path, &[&["decode", "--model", "vae.bin"], &DECODE[3..]].concat());
    assert!(frames == plain && note.is_empty(), "{note}");
    fs::write(path.join("diffusion_pytorch_model.bin"), "nothing").unwrap();
    write(&path.join(WEIGHTS), &tensors());
    assert!(decoded(path, &DECODE).0 == plain);
}

#[test]
fn shards_of_pytorch_are_one_model() {
    let folder = workplace();
    let path = folder.path();
    let (plain, _) = decoded(path, &DECODE);
    fs::remove_file(path.join(WEIGHTS)).unwrap();
    let mut map = serde_json::Map::new();
    let mut all = tensors();
    let rest = all.split_off(all.len() / 2);
    for (shard, tensors) in [("pytorch_model-00001-of-00002.bin", &all), ("pytorch_model-00002-of-00002.bin", &rest)] {
        write_torch(&path.join(shard), tensors);
        map.extend(tensors.iter().map(|tensor| (format!("state_dict.{}", tensor.name), shard.into())));
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(path.join("pytorch_model.bin.index.json"), format!("\u{feff}{index}")).unwrap();
    assert!(decoded(path, &DECODE).0 == plain);
    let (frames, _) = decoded(path, &[&["decode", "--model", "pytorch_model.bin.index.json"], &DECODE[3..]].concat());
    assert!(frames == plain);
}

#[test]
fn a_pickle_that_would_execute_is_refused_by_name() {
    let folder = workplace();
    let path = folder.path();
    let mut archive = zip::ZipWriter::new(fs::File::create(path.join("evil.pt")).unwrap());
    archive.start_file("x/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut archive, b"\x80\x02cposix\nsystem\nX\x0a\x00\x00\x00touch here\x85R.").unwrap();
    archive.finish().unwrap();
    let expected = ["evil.pt: not a usable PyTorch file", "`posix.system`", "it was not executed", "safetensors"];
    refused(path, &["decode", "--model", "evil.pt", "--latents", "z.safetensors"], &expected);
    refused(path, &["decode", "--model", ".", "--latents", "evil.pt"], &expected);
    assert!(!path.join("here").exists());
}

/// A folder with the tiny model of 16 latent channels.
fn sixteen() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = CONFIG.replace("\"latent_channels\": 4", "\"latent_channels\": 16");
    fs::write(folder.path().join("config.json"), &text).unwrap();
    write(&folder.path().join(WEIGHTS), &common::tensors_of(&*frontend::read_config(&text).unwrap().0));
    folder
}

/// The values of an `.npy` of f32.
fn values(npy: &[u8]) -> Vec<f32> {
    let start = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    npy[start..].as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

#[test]
fn latents_of_pytorch_numpy_and_comfyui_are_the_same_latents() {
    let folder = sixteen();
    let path = folder.path();
    // The same scaled latents [B, T, C, H, W] of PyTorch and NumPy; ComfyUI's are unscaled, [B, C,
    // T, H, W].
    fs::write(path.join("lat.pt"), include_bytes!("data/lat.pt")).unwrap();
    fs::write(path.join("lat.npy"), include_bytes!("data/lat.npy")).unwrap();
    fs::write(path.join("comfy.latent"), include_bytes!("data/comfy.latent")).unwrap();
    let of = |latents: &str, more: &[&str]| {
        decoded(path, &[&["decode", "--model", ".", "--latents", latents, "--output", "out.npy"], more].concat())
    };
    let (torch, said) = of("lat.pt", &[]);
    assert_eq!(said, "");
    assert_eq!(of("lat.npy", &[]), (torch.clone(), String::new()));
    assert_eq!(of("lat.pt#tensor", &["--latents-layout", "btchw"]).0, torch);
    let (comfy, said) = of("comfy.latent", &[]);
    assert_eq!(said, "");
    assert_eq!(of("comfy.latent", &["--unscaled"]).0, comfy);
    // Those were divided by a factor of 1.15258426, where this model's is 0.5.
    let data: Vec<f32> = values(include_bytes!("data/lat.npy")).iter().map(|value| value / 1.152_584_3 * 0.5).collect();
    latents_file(path, "scaled.safetensors", &[1, 3, 16, 4, 6], &data);
    let expected = values(&of("scaled.safetensors", &[]).0);
    let largest = values(&comfy).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-3, "{largest}");
}

#[test]
fn a_guess_is_told_and_can_be_settled() {
    let folder = workplace();
    let path = folder.path();
    latents_file(path, "amb.safetensors", &[1, 4, 4, 2, 3], &random(7, 96));
    let of = |more: &[&str]| {
        let arguments = ["decode", "--model", ".", "--latents", "amb.safetensors", "--output", "out.npy"];
        decoded(path, &[&arguments, more].concat())
    };
    let (guessed, said) = of(&[]);
    assert!(said.starts_with("note: amb.safetensors: ") && said.lines().count() == 1, "{said}");
    assert!(
        said.contains(
            "read as btchw, [batch, frames, channels, height, width], which is a guess; --latents-layout bcthw reads"
        ),
        "{said}"
    );
    assert_eq!(of(&["--latents-layout", "btchw"]), (guessed.clone(), String::new()));
    let (other, said) = of(&["--latents-layout", "bcthw"]);
    assert!(other != guessed && said.is_empty());
    let json = |latents: &str| -> serde_json::Value {
        let output = tessera(&["decode", "--json", "--model", ".", "--latents", latents, "--output", "out.npy"], path);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(json("amb.safetensors")["latents"], serde_json::json!({"layout": "btchw", "guessed": true}));
    assert_eq!(json("z.safetensors")["latents"], serde_json::json!({"layout": "btchw", "guessed": false}));
    latents_file(path, "four.safetensors", &[2, 4, 2, 3], &random(5, 48));
    let output = tessera(&["decode", "--model", ".", "--latents", "four.safetensors", "--output", "out.npy"], path);
    let said = text(&output.stderr);
    assert!(said.contains("four axes: read as one video, [frames, channels, height, width]"), "{said}");
}

#[test]
fn what_was_saved_in_place_of_a_file_is_called_that() {
    let folder = workplace();
    let path = folder.path();
    let saved: [(&[u8], &str); 6] = [
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "it is an HTML page (`Sign in`)"),
        (b"{\"error\": \"Repository not found\"}", "a server's answer that says `Repository not found`"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1", "run `git lfs pull`"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "packed by gzip; unpack it"),
        (b"Entry not found", "it is text that begins `Entry not found`"),
        (b"", "it is empty"),
    ];
    let index = "x.safetensors.index.json";
    let decode = |model: &str, latents: &str| ["decode", "--model", model, "--latents", latents].map(str::to_owned);
    for (bytes, expected) in saved {
        for (file, arguments) in [
            (WEIGHTS, decode(".", "z.safetensors")),
            ("config.json", decode(".", "z.safetensors")),
            ("z.safetensors", decode(".", "z.safetensors")),
            (index, decode(index, "z.safetensors")),
        ] {
            let before = fs::read(path.join(file)).ok();
            fs::write(path.join(file), bytes).unwrap();
            refused(path, &arguments.each_ref().map(String::as_str), &[file, expected]);
            match before {
                Some(before) => fs::write(path.join(file), before).unwrap(),
                None => fs::remove_file(path.join(file)).unwrap(),
            }
        }
    }
}

#[test]
fn a_configuration_may_begin_with_a_byte_order_mark() {
    let folder = workplace();
    let path = folder.path();
    let (plain, _) = decoded(path, &DECODE);
    let utf16 =
        |unit: fn(u16) -> [u8; 2]| format!("\u{feff}{CONFIG}").encode_utf16().flat_map(unit).collect::<Vec<_>>();
    for bytes in [format!("\u{feff}{CONFIG}").into_bytes(), utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
        fs::write(path.join("config.json"), bytes).unwrap();
        assert_eq!(decoded(path, &DECODE), (plain.clone(), String::new()));
        assert!(printed(&["info", "--model", "."], path).contains("latent_channels"));
    }
}
