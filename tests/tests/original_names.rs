//! Checkpoints under the names that a model's authors gave to its tensors: they decode to the bits
//! of diffusers' names, and the model is recognised where no config.json lies beside them.
//!
//! The golden checkpoints are renamed by the tables of `tests::spellings`.

use std::fs;

use serde_json::{Map, Value};
use tessera::{Observer, RunInput, RunOptions, TilingChoice, Vae, Video, latents::Latents};
use tests::spellings::wan;
use tests::{Case, goldens};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A safetensors file with its tensors renamed.
fn renamed(bytes: &[u8], rename: impl Fn(&str) -> String) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Map<String, Value> = serde_json::from_slice(header).expect("a header");
    let count = header.len();
    let rename = |name: String| if name == "__metadata__" { name } else { rename(&name) };
    let header: Map<String, Value> = header.into_iter().map(|(name, entry)| (rename(name), entry)).collect();
    assert_eq!(header.len(), count, "two tensors have one name");
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// What a case gives.
fn result(vae: &Vae, case: &Case) -> Vec<f32> {
    let input = &case.tensors["input"];
    let (data, shape) = (input.data.clone(), input.shape.clone().try_into().expect("five axes"));
    let input = match case.op() {
        "decode" => RunInput::Latents(Latents { data, shape }),
        _ => RunInput::Clip(Video { data, shape }),
    };
    let options = RunOptions::default().with_tiling(TilingChoice::Off);
    let observer: &mut dyn Observer = &mut ();
    input.run(vae, &options, observer).unwrap_or_else(|error| panic!("{}: {error}", case.name)).0.data
}

/// Renames the golden checkpoint `model`, and compares what these cases give; `file` is what people
/// call such a checkpoint.
fn check(model: &str, file: &str, cases: [&str; 2], rename: impl Fn(&str) -> String) {
    let folder = goldens().join("models").join(model);
    let own = Vae::open(&folder).expect("the checkpoint opens");
    let original = tempfile::tempdir().expect("a folder");
    fs::copy(folder.join("config.json"), original.path().join("config.json")).expect("a copy");
    let bytes = fs::read(folder.join(WEIGHTS)).expect("the weights");
    for (prefix, what) in [("", "as they are"), ("vae.", "in a pipeline's file")] {
        let renamed = renamed(&bytes, |name| format!("{prefix}{}", rename(name)));
        fs::write(original.path().join(WEIGHTS), renamed).expect("a file");
        let vae = Vae::open(original.path()).unwrap_or_else(|error| panic!("{model}, {what}: {error}"));
        let account = vae.checkpoint().account().unwrap_or_default().to_string();
        assert!(account.contains("original"), "{account}");
        let alone = tempfile::tempdir().expect("a folder");
        fs::copy(original.path().join(WEIGHTS), alone.path().join(file)).expect("a copy");
        let recognised = Vae::open(&alone.path().join(file)).unwrap_or_else(|error| panic!("{model}, {what}: {error}"));
        assert_eq!(recognised.model().class_name(), own.model().class_name(), "{:?}", recognised.account());
        for case in cases {
            let case = Case::read(&folder.join(format!("cases/{case}.safetensors")));
            let expected = result(&own, &case);
            assert!(result(&vae, &case) == expected, "{model} {}, {what}", case.name);
            assert!(result(&recognised, &case) == expected, "{model} {}, {what}, without config.json", case.name);
        }
    }
}

#[test]
fn wan_2_1_under_its_authors_names() {
    check("wan-2.1", "Wan2.1_VAE.safetensors", ["decode-2-frames", "encode-9-frames"], |name| wan(name, 1, false));
}

#[test]
fn wan_2_2_under_its_authors_names() {
    check("wan-2.2", "wan2.2_vae.safetensors", ["decode-4-frames", "encode-9-frames"], |name| wan(name, 1, true));
}

#[test]
fn qwen_image_under_its_authors_names() {
    check("qwen-image", "qwen_image_vae.safetensors", ["decode-image", "encode-image"], |name| wan(name, 1, false));
}

#[test]
fn qwen_image_2_1_under_its_authors_names() {
    check("qwen-image-2.1", "qwen_image_2.1_vae.safetensors", ["decode-image", "encode-image-batch-2"], |name| {
        wan(name, 1, true)
    });
}

#[test]
fn the_table_has_the_names_that_are_known() {
    for (own, original) in [
        ("decoder.mid_block.resnets.0.norm1.gamma", "decoder.middle.0.residual.0.gamma"),
        ("decoder.mid_block.resnets.1.conv2.bias", "decoder.middle.2.residual.6.bias"),
        ("decoder.up_blocks.1.upsamplers.0.time_conv.weight", "decoder.upsamples.7.time_conv.weight"),
        ("decoder.up_blocks.3.resnets.2.conv1.weight", "decoder.upsamples.14.residual.2.weight"),
        ("encoder.down_blocks.5.resample.1.weight", "encoder.downsamples.5.resample.1.weight"),
        ("quant_conv.bias", "conv1.bias"),
    ] {
        assert_eq!(wan(own, 2, false), original);
    }
    let residual = wan("decoder.up_blocks.0.resnets.0.conv1.weight", 2, true);
    assert_eq!(residual, "decoder.upsamples.0.upsamples.0.residual.2.weight");
}
