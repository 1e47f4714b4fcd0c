//! Models of images other than `AutoencoderKL`, and TAEHV: what their configurations are refused
//! with, and what others than the published ones declare.

use std::collections::BTreeMap;

use frontend::{Autoencoder, Half, Position, Step, StepKind, Taps, declare, parameters, read_config};
use ir::Role;
use ir::verify::verify;

/// What a configuration of this class with these fields is refused with.
fn refusal(class: &str, fields: &str) -> String {
    let text = format!("{{\"_class_name\": \"{class}\", {fields}}}");
    read_config(&text).err().unwrap_or_else(|| panic!("{text} is taken")).to_string()
}

/// Declares whole images with all taps, in sizes of one latent and of a ragged few.
fn check_images(text: &str, compression: usize, channels: [usize; 4]) -> BTreeMap<String, Vec<usize>> {
    let (model, warnings) = read_config(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(warnings, []);
    assert_eq!(model.spatial_compression(), compression);
    let [input, output, latents, moments] = channels;
    let found = model.channels();
    assert_eq!([found.input, found.output, found.latents, found.moments], channels, "{text}");
    for [rows, columns] in [[1, 1], [3, 5]] {
        let [height, width] = [rows, columns].map(|count| count * compression);
        for (half, from, name, expected) in [
            (Half::Decoder, [rows, columns], "sample", [2, output, 1, height, width]),
            (Half::Encoder, [height, width], "parameters", [2, moments, 1, rows, columns]),
        ] {
            let kind = StepKind::new(half, Position::Whole);
            let step = Step { kind, batch: 2, frames: 1, height: from[0], width: from[1] };
            let graph = declare(&*model, &step, &Taps::All).unwrap_or_else(|error| panic!("{text}: {error}"));
            verify(&graph).unwrap();
            let result = graph.output(Role::Result, name).expect("the result");
            assert_eq!(graph.ty(result).shape.as_slice(), expected, "{text}: {step}");
        }
    }
    assert_eq!((model.input_channels(Half::Encoder), model.input_channels(Half::Decoder)), (input, latents));
    tensors(&*model)
}

/// The shapes of all tensors by name.
fn tensors(model: &dyn Autoencoder) -> BTreeMap<String, Vec<usize>> {
    let halves = Half::ALL.map(|half| parameters(model, half).unwrap());
    halves.into_iter().flatten().map(|(name, shape)| (name, shape.to_vec())).collect()
}

#[test]
fn flux2_has_a_decoder_of_other_widths_and_statistics_of_patches() {
    let fields = r#""block_out_channels": [8, 16], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"], "norm_num_groups": 4, "latent_channels": 5"#;
    let text = format!(r#"{{"_class_name": "AutoencoderKLFlux2", {fields}, "decoder_block_out_channels": [12, 20]}}"#);
    let found = check_images(&text, 2, [3, 3, 5, 10]);
    assert_eq!(found["decoder.conv_in.weight"], [20, 5, 3, 3]);
    assert_eq!(found["decoder.conv_out.weight"], [3, 12, 3, 3]);
    assert_eq!(found["encoder.conv_out.weight"], [10, 16, 3, 3]);
    assert!(!found.keys().any(|name| name.starts_with("bn.")));
    let (model, _) = read_config(&text).unwrap();
    assert_eq!(model.stored_statistics().unwrap().names(), ["bn.running_mean", "bn.running_var"]);
    assert_eq!(model.latent_scaling().patch, 2);
    assert!(model.leaves_unread("vae.bn.num_batches_tracked") && !model.leaves_unread("bn.running_mean"));
    // No widths of its own are the encoder's.
    let text = format!(r#"{{"_class_name": "AutoencoderKLFlux2", {fields}, "decoder_block_out_channels": []}}"#);
    assert_eq!(check_images(&text, 2, [3, 3, 5, 10])["decoder.conv_in.weight"], [16, 5, 3, 3]);
    for (more, expected) in [
        (r#""patch_size": [2, 1]"#, "patch_size: expected a square of 1 to 64, found 2x1"),
        (r#""patch_size": [2]"#, "patch_size: expected height and width, found 1 numbers"),
        (r#""batch_norm_eps": -1"#, "batch_norm_eps: expected a finite number, 0 or more, found -1.0"),
        (
            r#""decoder_block_out_channels": [12]"#,
            "decoder_block_out_channels: expected 2 numbers, as block_out_channels has, so that what is decoded is as large \
             as what was encoded; found 1",
        ),
        (
            r#""decoder_block_out_channels": [12, 18]"#,
            "norm_num_groups: expected a divisor of every channel count, but 4 groups do not divide \
             decoder_block_out_channels[1] = 18",
        ),
    ] {
        assert_eq!(refusal("AutoencoderKLFlux2", &format!("{fields}, {more}")), expected);
    }
}

#[test]
fn tiny_models_have_as_many_stages_as_they_like() {
    let text = r#"{"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [6, 6, 6],
        "decoder_block_out_channels": [5, 5], "num_encoder_blocks": [0, 1, 2], "num_decoder_blocks": [2, 0],
        "upsampling_scaling_factor": 4, "latent_channels": 7, "act_fn": "SiLU", "in_channels": 1, "out_channels": 2}"#;
    let found = check_images(text, 4, [1, 2, 7, 7]);
    assert_eq!(found["encoder.layers.1.weight"], [6, 6, 3, 3]);
    assert!(!found.contains_key("encoder.layers.1.bias"), "samplers have no bias");
    assert_eq!(found["encoder.layers.6.weight"], [7, 6, 3, 3]);
    assert_eq!(found["decoder.layers.6.weight"], [2, 5, 3, 3]);
    for (fields, expected) in [
        (r#""act_fn": "gelu""#, "act_fn: expected \"relu\", \"silu\" or its other name \"swish\", found \"gelu\""),
        (r#""upsample_fn": "bilinear""#, "upsample_fn: expected \"nearest\", found \"bilinear\""),
        (
            r#""num_encoder_blocks": [1, 3, 3]"#,
            "num_encoder_blocks: expected 4 numbers, as encoder_block_out_channels has, found 3\n\
             upsampling_scaling_factor: expected what makes an image as large as it was: the encoder divides height and \
             width by 4, 3 times 2 multiplies them by 8",
        ),
        (
            r#""decoder_block_out_channels": [64, 32, 32, 32]"#,
            "decoder_block_out_channels: expected the same number everywhere, since nothing between stages changes it, \
             found [64, 32, 32, 32]",
        ),
    ] {
        assert_eq!(refusal("AutoencoderTiny", fields), expected);
    }
}

#[test]
fn deep_compression_has_samplers_of_both_kinds() {
    let shuffled = r#"{"_class_name": "AutoencoderDC", "latent_channels": 4, "attention_head_dim": 3,
        "encoder_block_out_channels": [4, 8, 16], "decoder_block_out_channels": [4, 8, 16],
        "encoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"], "decoder_block_types": "EfficientViTBlock",
        "encoder_layers_per_block": [0, 1, 2], "decoder_layers_per_block": [0, 2, 1],
        "encoder_qkv_multiscales": [[], [], [3, 5]], "decoder_qkv_multiscales": [[], [], []],
        "decoder_act_fns": ["silu", "relu", "silu"], "decoder_norm_types": ["rms_norm", "rms_norm", "rms_norm"],
        "decoder_conv_act_fn": "silu"}"#;
    let found = check_images(shuffled, 4, [3, 3, 4, 4]);
    // Levels without blocks: the first and the last convolution are samplers.
    assert_eq!(found["encoder.conv_in.conv.weight"], [2, 3, 3, 3]);
    assert_eq!(found["decoder.conv_out.conv.weight"], [12, 8, 3, 3]);
    assert!(!found.keys().any(|name| name.contains("_blocks.0.")));
    // Five heads of three channels; three scales.
    assert_eq!(found["encoder.down_blocks.2.1.attn.to_q.weight"], [15, 16]);
    assert_eq!(found["encoder.down_blocks.2.1.attn.to_qkv_multiscale.1.proj_in.weight"], [45, 1, 5, 5]);
    assert_eq!(found["encoder.down_blocks.2.1.attn.to_qkv_multiscale.0.proj_out.weight"], [45, 3, 1, 1]);
    assert_eq!(found["encoder.down_blocks.2.1.attn.to_out.weight"], [16, 45]);
    assert_eq!(found["decoder.up_blocks.1.0.conv.weight"], [32, 16, 3, 3]);
    assert_eq!(found["decoder.norm_out.weight"], [8]);
    let plain = r#"{"_class_name": "AutoencoderDC", "latent_channels": 5, "encoder_block_out_channels": [4],
        "decoder_block_out_channels": [6], "encoder_layers_per_block": [1], "decoder_layers_per_block": [2],
        "encoder_qkv_multiscales": [[]], "decoder_qkv_multiscales": [[]], "encoder_out_shortcut": false,
        "decoder_in_shortcut": false, "upsample_block_type": "interpolate", "downsample_block_type": "conv"}"#;
    assert_eq!(check_images(plain, 1, [3, 3, 5, 5])["decoder.conv_in.weight"], [6, 5, 3, 3]);
    for (fields, expected) in [
        (
            r#""decoder_norm_types": "batch_norm""#,
            "decoder_norm_types: expected \"rms_norm\" everywhere, found \"batch_norm\"",
        ),
        (r#""encoder_block_types": ["ResBlock"]"#, "encoder_block_types: expected one type, or 6, found 1"),
        (r#""decoder_act_fns": 3"#, "decoder_act_fns: expected text or a list of texts, found 3"),
        (
            r#""encoder_qkv_multiscales": [[], [], [], [4], [5], [5]]"#,
            "encoder_qkv_multiscales: expected odd numbers up to 63, found 4",
        ),
        (
            r#""decoder_layers_per_block": [3, 0, 3, 3, 3, 3]"#,
            "decoder_layers_per_block: expected at least one block in every level but the first of several, found 0 at \
             index 1",
        ),
        (
            r#""latent_channels": 30"#,
            "latent_channels: expected channels that go together: the shortcut to latents takes 1024, which 30 does not \
             divide\nlatent_channels: expected channels that go together: the shortcut from latents takes 1024, which 30 \
             does not divide",
        ),
        (
            r#""encoder_block_out_channels": [128, 256]"#,
            "encoder_layers_per_block: expected 2, as many as encoder_block_out_channels has numbers, found 6\n\
             encoder_qkv_multiscales: expected 2, as many as encoder_block_out_channels has numbers, found 6\n\
             decoder_block_out_channels: expected 2 numbers, as encoder_block_out_channels has, so that images come back \
             in their size; found 6",
        ),
        (
            r#""decoder_block_types": "EfficientViTBlock", "attention_head_dim": 512"#,
            "attention_head_dim: expected at most the channels of a level with attention, found 512 and 128 at index 0 of \
             decoder_block_out_channels\nattention_head_dim: expected at most the channels of a level with attention, \
             found 512 and 256 at index 1 of decoder_block_out_channels",
        ),
    ] {
        assert_eq!(refusal("AutoencoderDC", fields), expected);
    }
}

#[test]
fn qwen_image_2_1_is_wan_without_time() {
    let fields = r#""base_dim": 4, "decoder_base_dim": 6, "z_dim": 2, "latents_mean": [0, 0], "latents_std": [1, 1],
        "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [false, true]"#;
    let text = format!(r#"{{"_class_name": "AutoencoderKLQwenImage21", {fields}}}"#);
    let found = check_images(&text, 4, [4, 4, 2, 4]);
    assert_eq!(found["encoder.down_blocks.0.resnets.0.conv1.weight"], [4, 4, 3, 3]);
    assert_eq!(found["encoder.down_blocks.0.resnets.0.norm1.gamma"], [4, 1, 1, 1]);
    assert_eq!(found["quant_conv.weight"], [4, 4, 1, 1]);
    assert!(!found.keys().any(|name| name.contains("time_conv")));
    let (model, _) = read_config(&text).unwrap();
    assert!(model.leaves_unread("decoder.up_blocks.0.upsampler.time_conv.weight"));
    assert_eq!(model.temporal_compression(), 1);
    // Without shortcuts, in patches.
    let text =
        format!(r#"{{"_class_name": "AutoencoderKLQwenImage21", {fields}, "is_residual": false, "patch_size": 2}}"#);
    assert_eq!(
        check_images(&text, 8, [1, 1, 2, 4])["decoder.up_blocks.0.upsamplers.0.resample.1.weight"],
        [6, 12, 3, 3]
    );
}

#[test]
fn taehv_counts_frames_as_its_authors_do() {
    let (model, _) = read_config(r#"{"_class_name": "TAEHV"}"#).unwrap();
    for (frames, latents) in [(1, 1), (4, 1), (5, 2), (81, 21)] {
        assert_eq!(model.encoded_frames(frames), latents);
    }
    assert_eq!([1, 2, 21].map(|latents| model.decoded_frames(latents)), [1, 5, 81]);
    assert_eq!((model.temporal_compression(), model.spatial_compression()), (4, 8));
    let found = tensors(&*model);
    assert_eq!(found["decoder.19.conv.weight"], [128, 64, 1, 1]);
    assert_eq!(found["decoder.22.bias"], [3]);
    assert_eq!(found["encoder.2.conv.weight"], [64, 128, 1, 1]);
    assert_eq!(found["encoder.4.conv.0.weight"], [64, 128, 3, 3]);
    for (fields, expected) in [
        (
            r#""decoder_time_upscale": [true, true, true]"#,
            "decoder_time_upscale: expected 2 that are true, as in encoder_time_downscale, so that frames come back; found 3",
        ),
        (
            r#""decoder_channels": [8, 8]"#,
            "decoder_channels: expected 4 numbers, one more than decoder_time_upscale has, found 2",
        ),
        (r#""patch_size": 0"#, "patch_size: expected a whole number from 1 to 64, found 0"),
        (
            r#""encoder_time_downscale": []"#,
            "encoder_time_downscale: expected a list of 1 to 12 values, found 0\n\
             decoder_time_upscale: expected 0 values, as encoder_time_downscale has, found 3\n\
             decoder_time_upscale: expected 0 that are true, as in encoder_time_downscale, so that frames come back; \
             found 2",
        ),
    ] {
        assert_eq!(refusal("TAEHV", fields), expected);
    }
}
