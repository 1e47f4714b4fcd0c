//! Checkpoints in the names of others: the golden ones, renamed by the tables of `tests::spellings`,
//! decode and encode to the same bits.

use std::fs;
use std::path::Path;

use frontend::Half;
use safetensors::tensor::TensorView;
use tempfile::TempDir;
use tessera::{RunOptions, Vae, VideoView};
use tests::goldens;
use tests::spellings::{
    blocks_of_ltx, in_factors, in_ldm, in_ldm_of_videos, in_ldm_over_time, in_lists, in_original_hunyuan_video15,
    in_stacks, in_taesd, write_renamed,
};

/// The golden checkpoint of a model in a file of its own beside its configuration, each tensor
/// renamed and its shape changed.
fn renamed(model: &str, rename: impl Fn(&str, &mut Vec<usize>) -> String) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = goldens().join("models").join(model);
    fs::copy(golden.join("config.json"), folder.path().join("config.json")).expect("the configuration");
    write_renamed(model, &folder.path().join("diffusion_pytorch_model.safetensors"), None, rename);
    folder
}

/// What comes of an input that is made up, in both halves.
fn results(folder: &Path) -> [Vec<u32>; 2] {
    let vae = Vae::open(folder).expect("the checkpoint opens");
    assert_eq!(vae.warnings().iter().filter(|warning| warning.contains("not used")).count(), 0);
    let options = RunOptions::default().with_threads(2);
    Half::ALL.map(|half| {
        vae.check_weights(half).expect("all tensors are there");
        let [height, width] = [16_usize, 8].map(|size| size.next_multiple_of(vae.model().size_unit(half)));
        let shape = [1, vae.model().input_channels(half), 1, height, width];
        let data: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect();
        let input = VideoView { data: &data, shape };
        let result = match half {
            Half::Decoder => vae.decode_to_memory(input, &options, &mut ()),
            Half::Encoder => vae.encode(input, &options, &mut ()),
        };
        result.expect("a result").0.data.iter().map(|value| value.to_bits()).collect()
    })
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

#[test]
fn videos_come_out_of_the_files_of_ltx() {
    for model in ["ltx-0.9.0", "ltx-0.9.1", "ltx-0.9.5", "ltx-2.0", "ltx-2.3"] {
        let blocks = blocks_of_ltx(model);
        let expected = results(&goldens().join("models").join(model));
        for prefix in ["", "vae."] {
            let folder = renamed(model, |name, _| format!("{prefix}{}", in_lists(name, &blocks)));
            assert!(results(folder.path()) == expected, "{model} with `{prefix}` in front");
        }
    }
}

#[test]
fn videos_come_out_of_files_in_other_names() {
    type Spelling = fn(&str, &mut Vec<usize>) -> String;
    let diffusers: Spelling = |name, _| name.to_owned();
    let of_models: [(&str, [Spelling; 2]); 2] = [
        ("hunyuan-video", [diffusers, in_ldm_of_videos]),
        ("hunyuan-video-1.5", [diffusers, in_original_hunyuan_video15]),
    ];
    for (model, spellings) in of_models {
        let expected = results(&goldens().join("models").join(model));
        assert!(expected.iter().all(|result| !result.is_empty()));
        for (number, spelling) in spellings.into_iter().enumerate() {
            for prefix in ["", "vae."] {
                let folder = renamed(model, |name, shape| format!("{prefix}{}", spelling(name, shape)));
                assert!(results(folder.path()) == expected, "{model}, spelling {number}, with `{prefix}` in front");
            }
        }
    }
}

#[test]
fn decoders_come_out_of_files_of_stacks() {
    let expected = results(&goldens().join("models/mochi"));
    for prefix in ["", "decoder.", "vae.decoder."] {
        let folder = renamed("mochi", |name, _| in_stacks(prefix, name));
        assert!(results(folder.path()) == expected, "with `{prefix}` in front");
    }
    assert_eq!(in_stacks("", "decoder.up_blocks.1.resnets.3.conv2.conv.weight"), "blocks.2.blocks.3.stack.5.weight");
}

#[test]
fn videos_come_out_of_latent_diffusions_files() {
    let expected = results(&goldens().join("models/temporal-decoder"));
    for prefix in ["", "first_stage_model."] {
        let folder = renamed("temporal-decoder", |name, shape| format!("{prefix}{}", in_ldm_over_time(name, shape)));
        assert!(results(folder.path()) == expected, "with `{prefix}` in front");
    }
    let known = in_ldm_over_time("decoder.up_blocks.1.resnets.0.temporal_res_block.conv1.weight", &mut vec![]);
    assert_eq!(known, "decoder.up.0.block.0.time_stack.in_layers.2.weight");
}

#[test]
fn factored_convolutions_come_out_of_their_authors_files() {
    let expected = results(&goldens().join("models/cosmos"));
    for prefix in ["", "vae."] {
        let folder = renamed("cosmos", |name, _| format!("{prefix}{}", in_factors(name)));
        assert!(results(folder.path()) == expected, "with `{prefix}` in front");
    }
    for (own, other) in [
        ("decoder.up_blocks.1.upsamplers.0.conv3.weight", "decoder.up.1.upsample.conv3.conv3d.weight"),
        ("encoder.down_blocks.2.resnets.1.conv1.conv_t.bias", "encoder.down.2.block.1.conv1.1.conv3d.bias"),
        ("decoder.mid_block.temp_attentions.0.norm.norm.bias", "decoder.mid.attn_1.1.norm.norm.bias"),
        ("encoder.mid_block.attentions.0.to_out.0.bias", "encoder.mid.attn_1.0.proj_out.conv3d.bias"),
        ("quant_conv.weight", "quant_conv.conv3d.weight"),
    ] {
        assert_eq!(in_factors(own), other);
    }
}
