//! Checkpoints in the names of others: the golden ones, renamed by tables of this file's own,
//! decode and encode to the same bits.

use std::fs;
use std::path::Path;

use frontend::Half;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;
use tessera::{RunOptions, Vae, VideoView};
use tests::goldens;

/// The golden checkpoint of a model in a file of its own beside its configuration, each tensor
/// renamed and its shape changed.
fn renamed(model: &str, rename: impl Fn(&str, &mut Vec<usize>) -> String) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = goldens().join("models").join(model);
    fs::copy(golden.join("config.json"), folder.path().join("config.json")).expect("the configuration");
    let bytes = fs::read(golden.join("diffusion_pytorch_model.safetensors")).expect("the weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let views = tensors.iter().map(|(name, view)| {
        let mut shape = view.shape().to_vec();
        let name = rename(name, &mut shape);
        (name, TensorView::new(view.dtype(), shape, view.data()).expect("as many values"))
    });
    let path = folder.path().join("diffusion_pytorch_model.safetensors");
    safetensors::serialize_to_file(views, None, &path).expect("a file");
    folder
}

/// What comes of an input that is made up, in both halves.
fn results(folder: &Path) -> [Vec<u32>; 2] {
    let vae = Vae::open(folder).expect("the checkpoint opens");
    assert_eq!(vae.warnings().iter().filter(|warning| warning.contains("not used")).count(), 0);
    let options = RunOptions::default().with_threads(2);
    Half::ALL.map(|half| {
        vae.check_weights(half).expect("all tensors are there");
        let shape = [1, vae.model().input_channels(half), 1, 16, 8];
        let data: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect();
        let input = VideoView { data: &data, shape };
        let result = match half {
            Half::Decoder => vae.decode_to_memory(input, &options, &mut ()),
            Half::Encoder => vae.encode(input, &options, &mut ()),
        };
        result.expect("a result").0.data.iter().map(|value| value.to_bits()).collect()
    })
}

/// A name of `AutoencoderKL` with three levels as latent diffusion's code has it.
fn in_ldm(name: &str, shape: &mut Vec<usize>) -> String {
    let attention = name.contains(".attentions.");
    if attention && shape.len() == 2 {
        shape.extend([1, 1]);
    }
    let mut name = name.to_owned();
    for (own, other) in [
        (".mid_block.resnets.0.", ".mid.block_1."),
        (".mid_block.resnets.1.", ".mid.block_2."),
        (".mid_block.attentions.0.", ".mid.attn_1."),
        (".group_norm.", ".norm."),
        (".to_q.", ".q."),
        (".to_k.", ".k."),
        (".to_v.", ".v."),
        (".to_out.0.", ".proj_out."),
        (".conv_norm_out.", ".norm_out."),
        (".down_blocks.", ".down."),
        (".up_blocks.0.", ".up.2."),
        (".up_blocks.1.", ".up.1."),
        (".up_blocks.2.", ".up.0."),
        (".resnets.", ".block."),
        (".downsamplers.0.", ".downsample."),
        (".upsamplers.0.", ".upsample."),
        (".conv_shortcut.", ".nin_shortcut."),
    ] {
        name = name.replace(own, other);
    }
    name
}

/// The same as diffusers had it before its layers of attention were one class.
fn in_older_diffusers(name: &str, _shape: &mut Vec<usize>) -> String {
    let renames = [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];
    renames.iter().fold(name.to_owned(), |name, (own, other)| name.replace(own, other))
}

/// Weights for every tensor of a model of images in LDM's names, made up, in a folder with and in
/// one without its configuration.
fn made_up(config: &str) -> [TempDir; 2] {
    let (model, _) = frontend::read_config(config).expect("a configuration");
    let tensors = Half::ALL.into_iter().flat_map(|half| frontend::parameters(&*model, half).expect("parameters"));
    let values = |name: &str, count: usize| -> Vec<u8> {
        let seed = name.bytes().map(f32::from).sum::<f32>();
        (0..count).flat_map(|i| (0.1 * (seed + i as f32 * 0.73).sin()).to_le_bytes()).collect()
    };
    let tensors: Vec<_> = tensors
        .map(|(name, shape)| {
            let mut shape = shape.to_vec();
            (in_ldm(&name, &mut shape), shape.clone(), values(&name, shape.iter().product()))
        })
        .collect();
    [Some(config), None].map(|config| {
        let folder = tempfile::tempdir().expect("a folder");
        let views = tensors.iter().map(|(name, shape, data)| {
            (name, TensorView::new(safetensors::Dtype::F32, shape.clone(), data).expect("as many values"))
        });
        safetensors::serialize_to_file(views, None, &folder.path().join("ae.safetensors")).expect("a file");
        if let Some(config) = config {
            fs::write(folder.path().join("config.json"), config).expect("a file");
        }
        folder
    })
}

#[test]
fn a_model_of_images_is_recognised_where_its_norms_are_usual() {
    let config = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [32, 32, 64], "latent_channels": 16,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
        "use_quant_conv": false, "use_post_quant_conv": false}"#;
    let [with, without] = made_up(config).map(|folder| results(&folder.keep().join("ae.safetensors")));
    assert!(with == without);
    let golden = renamed("autoencoder-kl", in_ldm).keep();
    fs::remove_file(golden.join("config.json")).expect("there was one");
    let weights = golden.join("diffusion_pytorch_model.safetensors");
    let error = Vae::open(&weights).err().expect("five groups cannot be seen").to_string();
    assert!(
        error.contains("it looks like AutoencoderKL, but its tensors do not tell enough: norm_num_groups"),
        "{error}"
    );
}

/// A name of `AutoencoderTiny` as its authors' two lists of layers have it.
fn in_taesd(name: &str, _shape: &mut Vec<usize>) -> String {
    if let Some(rest) = name.strip_prefix("encoder.layers.") {
        return format!("taesd_encoder.{rest}");
    }
    let (layer, rest) = name.strip_prefix("decoder.layers.").and_then(|rest| rest.split_once('.')).expect("a layer");
    format!("taesd_decoder.{}.{rest}", layer.parse::<usize>().expect("a number") + 1)
}

#[test]
fn tiny_models_come_out_of_their_authors_files() {
    let expected = results(&goldens().join("models/autoencoder-tiny"));
    let folder = renamed("autoencoder-tiny", in_taesd);
    assert!(results(folder.path()) == expected);
}

#[test]
fn images_come_out_of_latent_diffusions_files() {
    let expected = results(&goldens().join("models/autoencoder-kl"));
    assert!(expected.iter().all(|result| !result.is_empty()));
    for prefix in ["", "vae.", "first_stage_model."] {
        let folder = renamed("autoencoder-kl", |name, shape| format!("{prefix}{}", in_ldm(name, shape)));
        assert!(results(folder.path()) == expected, "with `{prefix}` in front");
    }
    let expected_of_flux2 = results(&goldens().join("models/flux2"));
    for inside in [false, true] {
        let folder = renamed("flux2", |name, shape| match name {
            // The authors' code has these convolutions within the halves.
            "quant_conv.weight" | "quant_conv.bias" if inside => format!("encoder.{name}"),
            "post_quant_conv.weight" | "post_quant_conv.bias" if inside => format!("decoder.{name}"),
            _ => in_ldm(name, shape),
        });
        assert!(results(folder.path()) == expected_of_flux2, "FLUX.2's, {inside}");
        let own = Vae::open(&goldens().join("models/flux2")).expect("the checkpoint opens");
        let vae = Vae::open(folder.path()).expect("the checkpoint opens");
        assert_eq!(vae.latent_scaling().expect("statistics"), own.latent_scaling().expect("statistics"));
        assert_eq!(vae.warnings(), &[] as &[String]);
    }
    let folder = renamed("autoencoder-kl", in_older_diffusers);
    assert!(results(folder.path()) == expected, "older diffusers");
}
