//! `AutoencoderKLMochi`, `AutoencoderKLTemporalDecoder`, `AutoencoderKLCosmos` and
//! `AutoencoderKLMagvit`: published sizes, what is refused, steps, names.

use std::sync::Arc;

use frontend::{
    Autoencoder, ConfigError, FrameSteps, Half, Position, Step, StepKind, Taps, declare, parameters, published,
    read_config,
};
use ir::verify::verify;

/// The published model of this name.
fn of(name: &str) -> Arc<dyn Autoencoder> {
    let published = published().iter().find(|published| published.name == name).expect("a published model");
    read_config(published.config).expect("a right configuration").0
}

/// Fields of a small model of each class.
const MOCHI: &str = r#""_class_name": "AutoencoderKLMochi", "encoder_block_out_channels": [32, 64],
    "decoder_block_out_channels": [64, 32], "temporal_expansions": [3], "spatial_expansions": [2],
    "layers_per_block": [1, 1, 1], "add_attention_block": [false, true, true], "latent_channels": 2,
    "latents_mean": null, "latents_std": null"#;
const PARTS: &str = r#""_class_name": "AutoencoderKLTemporalDecoder", "block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"]"#;
const COSMOS: &str = r#""_class_name": "AutoencoderKLCosmos", "encoder_block_out_channels": [4, 6, 6, 6],
    "decode_block_out_channels": [4, 6, 6, 8], "latent_channels": 2, "latents_mean": null, "latents_std": null,
    "resolution": 32, "attention_resolutions": [4]"#;
const MAGVIT: &str = r#""_class_name": "AutoencoderKLMagvit", "block_out_channels": [4, 4, 8], "norm_num_groups": 2,
    "down_block_types": ["SpatialTemporalDownBlock3D", "SpatialDownBlock3D", "SpatialDownBlock3D"],
    "up_block_types": ["SpatialUpBlock3D", "SpatialTemporalUpBlock3D", "SpatialUpBlock3D"]"#;

/// One of the class with these fields; of two fields of one name the last counts.
fn small(class: &str, fields: &str) -> Result<Arc<dyn Autoencoder>, ConfigError> {
    let comma = if fields.is_empty() { "" } else { ", " };
    read_config(&format!("{{{class}{comma}{fields}}}")).map(|(model, _)| model)
}

#[track_caller]
fn refuses(class: &str, fields: &str, expected: &[&str]) {
    let error = small(class, fields).expect_err("a bad configuration").to_string();
    assert_eq!(error.lines().collect::<Vec<_>>(), expected, "{fields}");
}

#[test]
fn published_models_have_their_sizes() {
    for (name, space, time, latents, moments) in
        [("Mochi-1", 8, 6, 12, 24), ("SVD", 8, 1, 4, 8), ("Cosmos-1.0", 8, 8, 16, 16), ("EasyAnimate-5", 8, 4, 16, 32)]
    {
        let model = of(name);
        assert_eq!((model.spatial_compression(), model.temporal_compression()), (space, time), "{name}");
        let channels = model.channels();
        assert_eq!((channels.input, channels.output, channels.latents, channels.moments), (3, 3, latents, moments));
        let frames = 1 + 3 * time;
        assert_eq!((model.decoded_frames(4), model.encoded_frames(frames)), (frames, 4), "{name}");
        assert_eq!(model.decoded_frames(0), 0, "{name}");
        assert!(model.training_size().iter().all(|pixels| pixels % space == 0), "{name}");
        assert_eq!(model.decoded_frames(1), 1, "{name}");
    }
    assert_eq!(of("Mochi-1").clip_frames(Half::Decoder, 4), 24);
}

#[test]
fn published_models_have_tensors_of_these_names() {
    for (name, tensor, expected) in [
        ("Mochi-1", "encoder.down_blocks.2.conv_in.conv.weight", vec![384, 256, 3, 2, 2]),
        ("Mochi-1", "encoder.proj_out.weight", vec![24, 384]),
        ("Mochi-1", "encoder.block_out.attentions.2.to_out.0.bias", vec![384]),
        ("Mochi-1", "decoder.up_blocks.0.proj.weight", vec![6144, 768]),
        ("Mochi-1", "decoder.up_blocks.1.resnets.3.norm2.norm_layer.weight", vec![512]),
        ("SVD", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight", vec![256, 128, 1, 1]),
        ("SVD", "quant_conv.weight", vec![8, 8, 1, 1]),
        ("SVD", "decoder.mid_block.resnets.1.time_mixer.mix_factor", vec![1]),
        ("SVD", "decoder.up_blocks.3.resnets.2.temporal_res_block.conv2.weight", vec![128, 128, 3, 1, 1]),
        ("SVD", "decoder.time_conv_out.weight", vec![3, 3, 3, 1, 1]),
        ("Cosmos-1.0", "encoder.conv_in.conv_s.weight", vec![128, 192, 1, 3, 3]),
        ("Cosmos-1.0", "encoder.down_blocks.0.downsamplers.0.conv2.weight", vec![256, 256, 3, 1, 1]),
        ("Cosmos-1.0", "decoder.mid_block.temp_attentions.0.norm.norm.weight", vec![512]),
        ("Cosmos-1.0", "decoder.up_blocks.1.upsamplers.0.conv3.weight", vec![512, 512, 1, 1, 1]),
        ("EasyAnimate-5", "encoder.down_blocks.1.downsampler.conv.weight", vec![256, 256, 3, 3, 3]),
        ("EasyAnimate-5", "decoder.up_blocks.3.convs.0.shortcut.weight", vec![128, 256, 1, 1, 1]),
    ] {
        let half = if tensor.starts_with("decoder") { Half::Decoder } else { Half::Encoder };
        let tensors = parameters(&*of(name), half).unwrap();
        let found = tensors.iter().find(|(found, _)| found == tensor).unwrap_or_else(|| panic!("{name}: {tensor}"));
        assert_eq!(found.1.to_vec(), expected, "{name}: {tensor}");
    }
}

#[test]
fn every_configuration_is_declared() {
    let mut declared = 0;
    for (class, fields) in [
        (MOCHI, ""),
        (MOCHI, r#""spatial_expansions": [3], "temporal_expansions": [1]"#),
        (MOCHI, r#""layers_per_block": [0, 2], "add_attention_block": [true, false, true, true]"#),
        (MOCHI, r#""in_channels": 5, "out_channels": 1, "act_fn": "SiLU", "spatial_expansions": [4]"#),
        (
            MOCHI,
            r#""encoder_block_out_channels": [32], "decoder_block_out_channels": [64], "temporal_expansions": [],
                "spatial_expansions": []"#,
        ),
        (PARTS, ""),
        (PARTS, r#""layers_per_block": 3, "latent_channels": 1, "in_channels": 1, "out_channels": 4"#),
        (PARTS, r#""block_out_channels": [32], "down_block_types": ["DownEncoderBlock2D"]"#),
        (COSMOS, ""),
        (
            COSMOS,
            r#""patch_size": 2, "spatial_compression_ratio": 8, "temporal_compression_ratio": 4, "num_layers": 1"#,
        ),
        (COSMOS, r#""patch_type": "rearrange", "out_channels": 1, "attention_resolutions": []"#),
        (COSMOS, r#""patch_size": 1, "spatial_compression_ratio": 4, "temporal_compression_ratio": 2"#),
        (
            COSMOS,
            r#""patch_type": "rearrange", "patch_size": 3, "spatial_compression_ratio": 4, "temporal_compression_ratio": 4"#,
        ),
        (
            COSMOS,
            r#""encoder_block_out_channels": [4], "decode_block_out_channels": [6, 4], "spatial_compression_ratio": 4,
                "temporal_compression_ratio": 4, "num_layers": 0"#,
        ),
        (MAGVIT, ""),
        (MAGVIT, r#""spatial_group_norm": false, "layers_per_block": 1, "in_channels": 1"#),
        (
            MAGVIT,
            r#""block_out_channels": [4], "down_block_types": ["SpatialDownBlock3D"], "up_block_types": ["SpatialTemporalUpBlock3D"]"#,
        ),
    ] {
        let model = small(class, fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
        for half in Half::ALL {
            let unit = model.least_size(half);
            for position in Position::ALL {
                let kind = StepKind::new(half, position);
                let frames = match (model.frame_steps(half), position) {
                    (FrameSteps::WholeUnits { .. } | FrameSteps::Units { .. }, Position::First | Position::Next) => {
                        continue;
                    }
                    (FrameSteps::WholeUnits { unit, .. }, Position::Whole) => 1 + 2 * unit,
                    (FrameSteps::Free { unit, .. } | FrameSteps::Chunks { unit, .. }, Position::Next) => 2 * unit,
                    (FrameSteps::Free { first, .. } | FrameSteps::Chunks { first, .. }, _) => first,
                    _ => 3,
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
    assert_eq!(declared, 17 * 6 - 6 * 2);
}

#[test]
fn odd_sizes_are_rounded_down_or_refused() {
    for (class, half, size, expected) in [
        (MOCHI, Half::Encoder, [5, 2], Ok([2, 1])),
        (PARTS, Half::Encoder, [5, 2], Ok([2, 1])),
        (MAGVIT, Half::Encoder, [9, 4], Ok([2, 1])),
        (COSMOS, Half::Encoder, [8, 12], Err("multiples of 8")),
    ] {
        let model = small(class, "").unwrap();
        let frames = model.frame_steps(half).of_clip(1).next().map_or(0, |step| step.len());
        let kind = StepKind::new(half, Position::Whole);
        let step = Step { kind, batch: 1, frames, height: size[0], width: size[1] };
        match (declare(&*model, &step, &Taps::None), expected) {
            (Ok(graph), Ok(expected)) => {
                assert_eq!(graph.ty(graph.outputs()[0].value).shape[3..], expected, "{class}");
            }
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, _) => panic!("{class}: {:?}", found.map(|graph| graph.len())),
        }
    }
}

#[test]
fn steps_are_those_that_give_the_references_numbers() {
    let steps = |name: &str, half| (of(name).frame_steps(half), of(name).reference_steps(half));
    let free = |unit, frames| FrameSteps::Free { first: 1, unit, frames };
    assert_eq!(steps("Mochi-1", Half::Decoder), (free(1, 1), FrameSteps::Whole));
    assert_eq!(steps("Mochi-1", Half::Encoder), (FrameSteps::Whole, FrameSteps::Whole));
    assert_eq!(steps("SVD", Half::Decoder).0, FrameSteps::Parts { frames: 14 });
    assert_eq!(steps("SVD", Half::Encoder).0, free(1, 1));
    assert_eq!(steps("Cosmos-1.0", Half::Decoder).0, FrameSteps::Whole);
    assert_eq!(steps("Cosmos-1.0", Half::Encoder).0, FrameSteps::WholeUnits { unit: 8, streams: false });
    assert_eq!(steps("EasyAnimate-5", Half::Encoder).0, free(4, 4));
    let of_chunks = small(MAGVIT, r#""spatial_group_norm": false"#).unwrap();
    assert_eq!(of_chunks.frame_steps(Half::Encoder), FrameSteps::Chunks { first: 1, unit: 2, frames: 4 });
    assert_eq!(of_chunks.frame_steps(Half::Decoder), FrameSteps::Chunks { first: 1, unit: 1, frames: 1 });
    assert_eq!((of_chunks.encoded_frames(8), of_chunks.decoded_frames(4)), (4, 7));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    refuses(
        MOCHI,
        r#""in_channels": 12, "decoder_block_out_channels": [48, 32], "temporal_expansions": [0], "act_fn": "gelu""#,
        &[
            "in_channels: expected a multiple of 5, the features that the encoder makes of each channel of a video, found 12",
            "decoder_block_out_channels: expected multiples of 32, the groups of every norm, to 65536, found 48 at index 0",
            "temporal_expansions: expected whole numbers from 1 to 64, found 0 at index 0",
            "act_fn: expected \"silu\" or its other name \"swish\", found \"gelu\"",
        ],
    );
    refuses(
        MOCHI,
        r#""encoder_block_out_channels": [32], "spatial_expansions": [2, 2], "layers_per_block": [1], "latents_std": [1]"#,
        &[
            "encoder_block_out_channels: expected 2 numbers, as decoder_block_out_channels has, found 1",
            "spatial_expansions: expected 1 numbers, one between each level and the next, found 2",
            "layers_per_block: expected a list of 2 to 13 values, found 1",
            "latents_std: expected 2 numbers, one a latent channel, found 1",
        ],
    );
    refuses(
        PARTS,
        r#""block_out_channels": [32, 48], "down_block_types": ["DownEncoderBlock2D", "X"], "layers_per_block": 0"#,
        &[
            "layers_per_block: expected a whole number from 1 to 64, found 0",
            "norm_num_groups: expected a divisor of every channel count, but 32 groups do not divide block_out_channels[1] = 48",
            "down_block_types: expected \"DownEncoderBlock2D\" everywhere, found \"X\" at index 1",
        ],
    );
    refuses(
        COSMOS,
        r#""patch_size": 3, "patch_type": "haar", "spatial_compression_ratio": 4, "temporal_compression_ratio": 4,
            "latents_mean": [1, 2, 3]"#,
        &[
            "patch_size: expected a power of two, as wavelets halve and halve again, found 3",
            "latents_mean: expected a multiple of 2 numbers, some for each latent channel, found 3",
        ],
    );
    refuses(
        COSMOS,
        r#""out_channels": 65536"#,
        &[
            "out_channels: expected patches of at most 2048 values where patch_type is \"haar\", found 65536 channels of 64 values each",
        ],
    );
    refuses(COSMOS, r#""patch_type": "dct""#, &["patch_type: expected \"haar\" or \"rearrange\", found \"dct\""]);
    refuses(
        COSMOS,
        r#""decode_block_out_channels": [4, 6, 6]"#,
        &[
            "spatial_compression_ratio: expected ratios that both halves have samplers for: the encoder's blocks make one \
           latent of 8 pixels and 8 frames, the decoder's 4 pixels and 4 frames of one latent",
        ],
    );
    let time = r#"["SpatialTemporalDownBlock3D", "SpatialTemporalDownBlock3D", "SpatialTemporalDownBlock3D",
        "SpatialTemporalDownBlock3D"]"#;
    refuses(
        MAGVIT,
        &format!(
            r#""block_out_channels": [4, 4, 4, 4], "down_block_types": {time}, "up_block_types": {}"#,
            time.replace("Down", "Up")
        ),
        &[
            "up_block_types: expected at most 2 samplers of frames, found 3: the reference encodes 4 frames at a time, of \
           which more of them leave none",
        ],
    );
    refuses(
        MAGVIT,
        r#""up_block_types": ["SpatialUpBlock3D", "SpatialUpBlock3D", "UpBlock"]"#,
        &[
            "up_block_types: expected \"SpatialUpBlock3D\" or \"SpatialTemporalUpBlock3D\", found \"UpBlock\" at index 2",
            "up_block_types: expected as many samplers of frames as down_block_types has, 1, found 0; the last block of each \
             has none",
        ],
    );
}
