//! `AutoencoderKLWan` and `AutoencoderKLQwenImage`: published sizes, what is refused, steps, tiles,
//! names.

use frontend::{
    Autoencoder, ConfigError, DeclareError, FrameSteps, Half, Position, Step, StepKind, Taps, declare, parameters,
    published, read_config, tap_names,
};
use ir::verify::verify;

/// The published model of this name.
fn of(name: &str) -> std::sync::Arc<dyn Autoencoder> {
    let published = published().iter().find(|published| published.name == name).expect("a published model");
    read_config(published.config).expect("a right configuration").0
}

/// A small one of the class with these fields.
fn small(class: &str, fields: &str) -> Result<std::sync::Arc<dyn Autoencoder>, ConfigError> {
    let common = r#""base_dim": 4, "z_dim": 2, "num_res_blocks": 1, "latents_mean": [0, 0], "latents_std": [1, 1]"#;
    // Of two fields of one name the last counts.
    read_config(&format!("{{\"_class_name\": \"{class}\", {common}, {fields}}}")).map(|(model, _)| model)
}

#[track_caller]
fn refuses(class: &str, fields: &str, expected: &[&str]) {
    let error = small(class, fields).expect_err("a bad configuration").to_string();
    assert_eq!(error.lines().collect::<Vec<_>>(), expected, "{fields}");
}

fn wan(fields: &str) -> std::sync::Arc<dyn Autoencoder> {
    small("AutoencoderKLWan", fields).unwrap_or_else(|error| panic!("{fields}: {error}"))
}

#[test]
fn published_models_have_their_tensors() {
    // Counted with diffusers 0.42.1.
    for (name, encoder, decoder) in [
        ("Wan-2.1", (86, 53_596_928), (108, 73_295_603)),
        ("Wan-2.2", (86, 149_637_088), (110, 555_051_580)),
        ("Qwen-Image", (86, 53_596_928), (108, 73_295_603)),
    ] {
        let model = of(name);
        for (half, expected) in [(Half::Encoder, encoder), (Half::Decoder, decoder)] {
            let tensors = parameters(&*model, half).unwrap();
            let elements: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!((tensors.len(), elements), expected, "{name}, {half}");
        }
    }
    let shape = |name: &str, tensor: &str| {
        let half = if tensor.starts_with("encoder") { Half::Encoder } else { Half::Decoder };
        let tensors = parameters(&*of(name), half).unwrap();
        let found = tensors.iter().find(|(found, _)| found == tensor).unwrap_or_else(|| panic!("{tensor}"));
        found.1.to_vec()
    };
    assert_eq!(shape("Wan-2.1", "decoder.up_blocks.0.upsamplers.0.resample.1.weight"), [192, 384, 3, 3]);
    assert_eq!(shape("Wan-2.1", "decoder.up_blocks.1.upsamplers.0.time_conv.weight"), [768, 384, 3, 1, 1]);
    assert_eq!(shape("Wan-2.1", "encoder.down_blocks.5.time_conv.weight"), [192, 192, 3, 1, 1]);
    assert_eq!(shape("Wan-2.2", "encoder.conv_in.weight"), [160, 12, 3, 3, 3]);
    assert_eq!(shape("Wan-2.2", "encoder.down_blocks.1.downsampler.time_conv.weight"), [320, 320, 3, 1, 1]);
    assert_eq!(shape("Wan-2.2", "decoder.up_blocks.2.upsampler.resample.1.weight"), [512, 512, 3, 3]);
    assert_eq!(shape("Wan-2.2", "decoder.mid_block.attentions.0.norm.gamma"), [1024, 1, 1]);
}

#[test]
fn published_models_have_their_sizes() {
    for (name, compression, channels) in [("Wan-2.1", 8, 3), ("Wan-2.2", 16, 3), ("Qwen-Image", 8, 3)] {
        let model = of(name);
        assert_eq!((model.spatial_compression(), model.temporal_compression()), (compression, 4), "{name}");
        assert_eq!((model.channels().input, model.channels().output), (channels, channels), "{name}");
        assert_eq!(
            (model.decoded_frames(21), model.encoded_frames(81), model.encoded_frames(84)),
            (81, 21, 21),
            "{name}"
        );
        assert!(model.training_size().iter().all(|pixels| pixels % compression == 0), "{name}");
    }
}

#[test]
fn tiles_are_counted_in_patches_where_the_reference_does() {
    let rule = |name: &str, half| of(name).tile_rule(half);
    let plain = rule("Wan-2.1", Half::Decoder);
    assert_eq!((plain.size, plain.overlap, plain.grain, plain.whole_share), ([256, 256], [0.25, 0.25], 1, 1.0));
    assert_eq!(rule("Wan-2.1", Half::Encoder), plain);
    assert_eq!(rule("Qwen-Image", Half::Decoder), plain);
    let [decode, encode] = [Half::Decoder, Half::Encoder].map(|half| rule("Wan-2.2", half));
    assert_eq!((decode.size, decode.grain, decode.whole_share), ([256, 256], 2, 1.0));
    assert_eq!((encode.size, encode.grain, encode.whole_share), ([512, 512], 1, 0.5));
}

#[test]
fn results_are_brought_into_their_range_as_the_reference_does() {
    for (name, tiled) in [("Wan-2.1", Some([-1.0, 1.0])), ("Wan-2.2", Some([-1.0, 1.0])), ("Qwen-Image", None)] {
        let model = of(name);
        assert_eq!(model.result_range(Half::Decoder, false), Some([-1.0, 1.0]), "{name}");
        assert_eq!(model.result_range(Half::Decoder, true), tiled, "{name}");
        assert_eq!(model.result_range(Half::Encoder, false), None, "{name}");
    }
}

#[test]
fn every_configuration_is_declared() {
    let mut declared = 0;
    for fields in [
        r#""dim_mult": [1], "temperal_downsample": []"#,
        r#""dim_mult": [2, 3], "temperal_downsample": [true]"#,
        r#""dim_mult": [1, 2, 2], "temperal_downsample": [true, false], "attn_scales": [1.0, 0.25]"#,
        r#""dim_mult": [1, 1], "temperal_downsample": [true], "num_res_blocks": 0"#,
        r#""dim_mult": [1, 2], "temperal_downsample": [true], "patch_size": 2, "in_channels": 4, "out_channels": 8"#,
        r#""dim_mult": [2, 4, 4], "temperal_downsample": [true, true], "is_residual": true, "decoder_base_dim": 3"#,
        r#""dim_mult": [1, 1, 2], "temperal_downsample": [false, true], "is_residual": true, "patch_size": 3, "in_channels": 9, "out_channels": 9, "num_res_blocks": 0, "dim_mult": [1, 1, 1]"#,
    ] {
        let model = wan(fields);
        for half in Half::ALL {
            let unit = model.least_size(half);
            for position in Position::ALL {
                let kind = StepKind::new(half, position);
                let frames = match (half, position) {
                    (_, Position::First | Position::Whole) => 1,
                    (Half::Decoder, Position::Next) => 3,
                    (Half::Encoder, Position::Next) => 2 * model.temporal_compression(),
                };
                let step = Step { kind, batch: 2, frames, height: 2 * unit, width: unit };
                let graph = declare(&*model, &step, &Taps::All).unwrap_or_else(|error| panic!("{fields}: {error}"));
                verify(&graph).unwrap_or_else(|error| panic!("{fields}, {kind}: {error:?}"));
                let result = graph.ty(graph.outputs()[0].value).shape.to_vec();
                let expected = [
                    2,
                    model.result_channels(half),
                    model.result_frames(kind, frames),
                    model.result_size(half, 2 * unit),
                    model.result_size(half, unit),
                ];
                assert_eq!(result, expected, "{fields}, {kind}");
                declared += 1;
            }
        }
    }
    assert_eq!(declared, 42);
}

#[test]
fn steps_are_one_frame_and_then_any_number_of_units() {
    let model = of("Wan-2.1");
    for (half, size, unit) in [(Half::Decoder, 1, 1), (Half::Encoder, 8, 4)] {
        assert_eq!(model.frame_steps(half), FrameSteps::Free { first: 1, unit, frames: unit });
        let step = |position, frames| {
            let kind = StepKind::new(half, position);
            declare(&*model, &Step { kind, batch: 1, frames, height: size, width: size }, &Taps::None)
        };
        for position in [Position::First, Position::Whole] {
            assert!(step(position, 1).is_ok());
            let error = step(position, 2).unwrap_err();
            assert!(error.to_string().ends_with("expected 1, the first of a clip, found 2 frames"), "{error}");
        }
        assert!(step(Position::Next, unit).is_ok() && step(Position::Next, 3 * unit).is_ok());
        if unit > 1 {
            let error = step(Position::Next, 3).unwrap_err();
            assert!(error.to_string().ends_with("expected a multiple of 4, found 3 frames"), "{error}");
        }
    }
}

#[test]
fn blocks_that_shortcuts_average_are_whole() {
    let step = |name: &str, height, width| {
        let kind = StepKind::new(Half::Encoder, Position::First);
        declare(&*of(name), &Step { kind, batch: 1, frames: 1, height, width }, &Taps::None)
    };
    assert!(step("Wan-2.2", 32, 48).is_ok());
    assert!(step("Wan-2.1", 17, 9).is_ok());
    let error = step("Wan-2.2", 32, 40).unwrap_err();
    assert!(matches!(error, DeclareError::Ragged { unit: 16, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "encode-first of 1x1x32x40: height and width must be multiples of 16, as the reference demands; they are 32x40"
    );
}

#[test]
fn bad_configurations_are_refused_by_field() {
    let wan = "AutoencoderKLWan";
    let range = "expected a whole number from 1 to 65536, found";
    refuses(wan, r#""base_dim": 0"#, &[&format!("base_dim: {range} 0")]);
    refuses(
        wan,
        r#""decoder_base_dim": 70000"#,
        &[
            &format!("decoder_base_dim: {range} 70000"),
            "dim_mult: expected channel counts from 1 to 65536, found a multiple of 1 at index 0",
            "dim_mult: expected channel counts from 1 to 65536, found a multiple of 2 at index 1",
            "dim_mult: expected channel counts from 1 to 65536, found a multiple of 4 at index 2",
            "dim_mult: expected channel counts from 1 to 65536, found a multiple of 4 at index 3",
        ],
    );
    refuses(wan, r#""in_channels": 0"#, &[&format!("in_channels: {range} 0")]);
    refuses(wan, r#""out_channels": "three""#, &["out_channels: expected a positive whole number, found \"three\""]);
    refuses("AutoencoderKLQwenImage", r#""input_channels": 0"#, &[&format!("input_channels: {range} 0")]);
    refuses(
        wan,
        r#""z_dim": 3"#,
        &[
            "latents_mean: expected 3 numbers, one a latent channel, found 2",
            "latents_std: expected 3 numbers, one a latent channel, found 2",
        ],
    );
    refuses(
        wan,
        r#""latents_std": [1, 0]"#,
        &["latents_std: expected finite numbers greater than 0, found 0.0 at index 1"],
    );
    refuses(wan, r#""num_res_blocks": 65"#, &["num_res_blocks: expected a whole number from 0 to 64, found 65"]);
    refuses(
        wan,
        r#""num_res_blocks": 0"#,
        &[
            "num_res_blocks: expected at least 1 where the channels of the encoder's levels differ ([4, 8, 16, 16] behind 4): \
         residual blocks alone change them",
        ],
    );
    refuses(
        wan,
        r#""dim_mult": [], "temperal_downsample": []"#,
        &["dim_mult: expected a list of 1 to 12 numbers, found 0"],
    );
    refuses(
        wan,
        r#""temperal_downsample": [true]"#,
        &["temperal_downsample: expected 3 values, one for each sampler between the levels of dim_mult, found 1"],
    );
    refuses(wan, r#""patch_size": 0"#, &["patch_size: expected a whole number from 1 to 64, found 0"]);
    refuses(
        wan,
        r#""patch_size": 2"#,
        &[
            "in_channels: expected a multiple of 4, the pixels of a patch, found 3",
            "out_channels: expected a multiple of 4, the pixels of a patch, found 3",
        ],
    );
    refuses(
        wan,
        r#""base_dim": 1, "dim_mult": [1, 1], "temperal_downsample": [true]"#,
        &["dim_mult: expected at least 2 channels in the decoder's levels but the last, found 1 at level 0"],
    );
    refuses(
        wan,
        r#""dim_mult": [1, 5], "temperal_downsample": [true], "is_residual": true"#,
        &[
            "dim_mult: expected channel counts of the encoder's levels that divide those of the blocks before them, but level 1 \
         makes 20 channels of 4 times 1",
        ],
    );
    refuses(
        wan,
        r#""dim_mult": [1, 3, 7], "temperal_downsample": [true, true], "is_residual": true"#,
        &[
            "dim_mult: expected channel counts of the encoder's levels that divide those of the blocks before them, but level 1 \
             makes 12 channels of 4 times 8",
            "dim_mult: expected channel counts of the encoder's levels that divide those of the blocks before them, but level 2 \
             makes 28 channels of 12 times 1",
            "dim_mult: expected channel counts of the decoder's levels that are divided by those before them, but level 1 makes \
             12 times 8 channels of 28",
        ],
    );
}

#[test]
fn taps_are_named_as_modules_are() {
    let names = |fields: &str, half| tap_names(&*wan(fields), half).unwrap();
    let residual = r#""dim_mult": [1, 1], "temperal_downsample": [true], "is_residual": true"#;
    let decoder = names(residual, Half::Decoder);
    for name in ["decoder.up_blocks.0.avg_shortcut", "decoder.up_blocks.0.upsampler.time_conv", "decoder.up_blocks.1"] {
        assert!(decoder.iter().any(|found| found == name), "{name}: {decoder:?}");
    }
    assert!(!decoder.iter().any(|name| name == "decoder.up_blocks.1.avg_shortcut"));
    let encoder = names(residual, Half::Encoder);
    assert!(encoder.iter().any(|name| name == "encoder.down_blocks.1.avg_shortcut"), "{encoder:?}");
    // Layers of all levels are one list, attentions among them.
    let listed = names(r#""dim_mult": [1, 2], "temperal_downsample": [true], "attn_scales": [0.5]"#, Half::Encoder);
    for name in ["encoder.down_blocks.1.time_conv", "encoder.down_blocks.2.conv1", "encoder.down_blocks.3.to_qkv"] {
        assert!(listed.iter().any(|found| found == name), "{name}: {listed:?}");
    }
}
