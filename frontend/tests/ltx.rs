//! `AutoencoderKLLTXVideo` and `AutoencoderKLLTX2Video`: published sizes, what is refused, steps,
//! conditions, names.

use std::sync::Arc;

use frontend::{
    Autoencoder, Condition, ConditionKind, ConfigError, FrameSteps, Half, Position, Step, StepKind, Taps, declare,
    parameters, published, read_config, tap_names,
};
use ir::verify::verify;
use ir::{Op, Role};

/// The published model of this name.
fn of(name: &str) -> Arc<dyn Autoencoder> {
    let published = published().iter().find(|published| published.name == name).expect("a published model");
    read_config(published.config).expect("a right configuration").0
}

/// Small ones of both classes, of the kinds that there are.
const FIRST: &str = r#""_class_name": "AutoencoderKLLTXVideo", "latent_channels": 3, "block_out_channels": [4, 6],
    "decoder_block_out_channels": [4, 6], "layers_per_block": [1, 0, 1], "decoder_layers_per_block": [1, 1, 1],
    "down_block_types": ["LTXVideoDownBlock3D", "LTXVideoDownBlock3D"], "spatio_temporal_scaling": [true, false],
    "decoder_spatio_temporal_scaling": [true, false], "decoder_inject_noise": [false, false, false],
    "upsample_residual": [false, false], "upsample_factor": [1, 1], "patch_size": 2"#;
const SECOND: &str = r#""_class_name": "AutoencoderKLLTX2Video", "latent_channels": 4, "block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 16], "layers_per_block": [1, 1, 1], "decoder_layers_per_block": [1, 0, 2],
    "down_block_types": ["LTX2VideoDownBlock3D", "LTX2VideoDownBlock3D"], "spatio_temporal_scaling": true,
    "decoder_spatio_temporal_scaling": true, "decoder_inject_noise": false, "downsample_type": ["spatial", "temporal"],
    "upsample_type": ["temporal", "spatial"], "upsample_residual": true, "upsample_factor": [2, 2]"#;

/// One of these with other fields: of two fields of one name the last counts.
fn read(common: &str, fields: &str) -> Result<Arc<dyn Autoencoder>, ConfigError> {
    read_config(&format!("{{{common}, {fields}}}")).map(|(model, _)| model)
}

fn small(common: &str, fields: &str) -> Arc<dyn Autoencoder> {
    read(common, fields).unwrap_or_else(|error| panic!("{fields}: {error}"))
}

#[track_caller]
fn refuses(common: &str, fields: &str, expected: &[&str]) {
    let error = read(common, fields).expect_err("a bad configuration").to_string();
    assert_eq!(error.lines().collect::<Vec<_>>(), expected, "{fields}");
}

const NOTHING: &str = r#""scaling_factor": 1.0"#;

#[test]
fn published_models_have_their_tensors() {
    // Counted with diffusers 0.42.1.
    for (name, encoder, decoder) in [
        ("LTX-Video-0.9.0", (94, 180_404_353), (94, 238_789_296)),
        ("LTX-Video-0.9.1", (94, 180_404_353), (198, 754_572_081)),
        ("LTX-Video-0.9.5", (92, 694_098_881), (132, 552_814_641)),
        ("LTX-2", (92, 694_098_881), (90, 528_380_720)),
        ("LTX-2.3", (84, 318_936_897), (84, 407_169_072)),
    ] {
        let model = of(name);
        for (half, expected) in [(Half::Encoder, encoder), (Half::Decoder, decoder)] {
            let tensors = parameters(&*model, half).unwrap();
            let elements: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!((tensors.len(), elements), expected, "{name}, {half}");
        }
        assert_eq!((model.spatial_compression(), model.temporal_compression()), (32, 8), "{name}");
        assert_eq!((model.decoded_frames(16), model.encoded_frames(121), model.encoded_frames(128)), (121, 16, 16));
        assert_eq!(model.training_size(), [512, 704]);
        let rule = model.tile_rule(Half::Decoder);
        assert_eq!((rule.size, rule.overlap), ([512, 512], [0.125, 0.125]));
    }
    let shape = |name: &str, tensor: &str| {
        let half = if tensor.starts_with("encoder") { Half::Encoder } else { Half::Decoder };
        let tensors = parameters(&*of(name), half).unwrap();
        let found = tensors.iter().find(|(found, _)| found == tensor).unwrap_or_else(|| panic!("{tensor}"));
        found.1.to_vec()
    };
    assert_eq!(shape("LTX-Video-0.9.0", "encoder.down_blocks.0.downsamplers.0.conv.weight"), [128, 128, 3, 3, 3]);
    assert_eq!(shape("LTX-Video-0.9.0", "encoder.down_blocks.0.conv_out.norm3.weight"), [128]);
    assert_eq!(shape("LTX-Video-0.9.0", "decoder.up_blocks.2.conv_in.conv_shortcut.conv.weight"), [256, 512, 1, 1, 1]);
    assert_eq!(shape("LTX-Video-0.9.1", "decoder.up_blocks.0.resnets.6.per_channel_scale2"), [512, 1, 1]);
    assert_eq!(shape("LTX-Video-0.9.1", "decoder.timestep_scale_multiplier"), [0_usize; 0]);
    assert_eq!(
        shape("LTX-Video-0.9.5", "decoder.mid_block.time_embedder.timestep_embedder.linear_1.weight"),
        [4096, 256]
    );
    assert_eq!(shape("LTX-Video-0.9.5", "decoder.scale_shift_table"), [2, 128]);
    assert_eq!(shape("LTX-Video-0.9.5", "encoder.conv_out.conv.weight"), [129, 2048, 3, 3, 3]);
    assert_eq!(shape("LTX-2.3", "decoder.up_blocks.2.upsamplers.0.conv.conv.weight"), [512, 512, 3, 3, 3]);
}

#[test]
fn every_configuration_is_declared() {
    let mut declared = 0;
    for (common, fields) in [
        (FIRST, NOTHING),
        (FIRST, r#""decoder_causal": true, "decoder_layers_per_block": [0, 0, 0]"#),
        (FIRST, r#""encoder_causal": false, "in_channels": 1, "out_channels": 2, "latent_channels": 1"#),
        (
            FIRST,
            r#""decoder_block_out_channels": [16, 16], "upsample_factor": [2, 1], "upsample_residual": [true, false]"#,
        ),
        (
            FIRST,
            r#""decoder_block_out_channels": [16], "upsample_factor": [2], "upsample_residual": [true],
            "decoder_spatio_temporal_scaling": [true], "timestep_conditioning": true, 
            "decoder_inject_noise": [true, true]"#,
        ),
        (
            FIRST,
            r#""down_block_types": ["LTXVideoDownBlock3D", "LTXVideo095DownBlock3D"], "downsample_type": ["",
                "spatiotemporal"],
            "spatio_temporal_scaling": [false, true, true], "block_out_channels": [4, 6, 8], "layers_per_block": [1, 2],
            "spatial_compression_ratio": 4, "temporal_compression_ratio": 2"#,
        ),
        (
            FIRST,
            r#""down_block_types": ["LTXVideo095DownBlock3D"], "block_out_channels": [8, 8],
                "downsample_type": ["conv"]"#,
        ),
        (SECOND, NOTHING),
        (SECOND, r#""decoder_causal": false, "encoder_spatial_padding_mode": "replicate""#),
        (
            SECOND,
            r#""encoder_spatial_padding_mode": "reflect", "timestep_conditioning": true, "decoder_inject_noise": true"#,
        ),
        (
            SECOND,
            r#""upsample_type": ["spatiotemporal", "spatial"], "decoder_block_out_channels": [12, 12],
                "upsample_factor": [1, 3],
            "upsample_residual": false, "decoder_layers_per_block": [1, 1, 1], "downsample_type": ["conv", "spatial"],
            "block_out_channels": [4, 8], "decoder_spatial_padding_mode": "zeros""#,
        ),
        (
            SECOND,
            r#""decoder_block_out_channels": [3, 5], "upsample_factor": [1, 1],
                "decoder_spatio_temporal_scaling": false,
            "spatio_temporal_scaling": [false, false], "block_out_channels": [4, 4]"#,
        ),
    ] {
        let model = small(common, fields);
        for half in Half::ALL {
            let least = model.least_size(half);
            for position in Position::ALL {
                if position != Position::Whole && model.frame_steps(half).is_whole() {
                    continue;
                }
                let kind = StepKind::new(half, position);
                let unit = if half == Half::Encoder { model.temporal_compression() } else { 1 };
                let frames = match position {
                    Position::First => 1,
                    Position::Whole => 1 + 2 * unit,
                    Position::Next => 2 * unit,
                };
                let step = Step { kind, batch: 2, frames, height: 2 * least, width: least };
                for taps in [Taps::All, Taps::None] {
                    let graph = declare(&*model, &step, &taps).unwrap_or_else(|error| panic!("{fields}: {error}"));
                    verify(&graph).unwrap_or_else(|error| panic!("{fields}, {kind}: {error:?}"));
                    let result = graph.ty(graph.outputs()[0].value).shape.to_vec();
                    let expected = [
                        2,
                        model.result_channels(half),
                        model.result_frames(kind, frames),
                        model.result_size(half, 2 * least),
                        model.result_size(half, least),
                    ];
                    assert_eq!(result, expected, "{fields}, {kind}");
                    let states = graph.outputs().iter().filter(|output| output.role == Role::State).count();
                    assert_eq!(states > 0, position.leaves_states(), "{fields}, {kind}");
                    declared += 1;
                }
            }
        }
    }
    assert_eq!(declared, 2 * 56);
}

#[test]
fn clips_are_cut_where_convolutions_are_causal() {
    let (encoder, decoder) = (of("LTX-2").frame_steps(Half::Encoder), of("LTX-2").frame_steps(Half::Decoder));
    assert_eq!(encoder, FrameSteps::Free { first: 1, unit: 8, frames: 8 });
    let whole = of("LTX-2").reference_steps(Half::Encoder);
    assert_eq!(whole, FrameSteps::WholeUnits { unit: 8, streams: false });
    assert_eq!(decoder, FrameSteps::WholeUnits { unit: 1, streams: false });
    let causal = small(SECOND, NOTHING).frame_steps(Half::Decoder);
    assert_eq!(causal, FrameSteps::WholeUnits { unit: 1, streams: true });
    let step = |kind: &str, frames, size| {
        let kind = kind.parse().unwrap();
        let step = Step { kind, batch: 1, frames, height: size, width: size };
        declare(&*of("LTX-Video-0.9.5"), &step, &Taps::None).map(drop).map_err(|error| error.to_string())
    };
    let refused = |kind, frames, size| step(kind, frames, size).unwrap_err();
    assert!(refused("encode-whole", 16, 32).ends_with("expected one and a multiple of 8, found 16 frames"));
    assert!(refused("encode-next", 9, 32).ends_with("expected a multiple of 8, found 9 frames"));
    assert!(refused("encode-first", 9, 32).ends_with("expected 1, the first of a clip, found 9 frames"));
    assert!(refused("decode-next", 2, 1).contains("expected a whole clip, since frames see those behind them"));
    assert!(refused("encode-whole", 9, 48).contains("must be multiples of 32"));
    for (kind, frames, size) in [("encode-whole", 17, 32), ("encode-next", 16, 32), ("decode-whole", 2, 1)] {
        assert_eq!(step(kind, frames, size), Ok(()));
    }
}

#[test]
fn borders_that_are_mirrored_need_two_latents() {
    let model = of("LTX-2");
    assert_eq!((model.least_size(Half::Decoder), model.least_size(Half::Encoder)), (2, 32));
    let kind = StepKind::new(Half::Decoder, Position::Whole);
    let error = declare(&*model, &Step { kind, batch: 1, frames: 1, height: 1, width: 4 }, &Taps::None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "decode-whole of 1x1x1x4: what is decoded must be at least 2x2 latents, since borders are mirrored; it is 1x4"
    );
    assert_eq!(of("LTX-2.3").least_size(Half::Decoder), 1);
}

#[test]
fn conditions_are_inputs_behind_the_latents() {
    let none: Vec<Condition> = vec![];
    assert_eq!(of("LTX-Video-0.9.0").conditions(Half::Decoder), none);
    assert_eq!(of("LTX-Video-0.9.1").conditions(Half::Encoder), none);
    let timestep = Condition { name: "timestep".to_owned(), kind: ConditionKind::Number { usual: Some(0.0) } };
    assert_eq!(of("LTX-Video-0.9.5").conditions(Half::Decoder), std::slice::from_ref(&timestep));
    let model = of("LTX-Video-0.9.1");
    let conditions = model.conditions(Half::Decoder);
    // 7, 6 and 5 residual blocks on three levels draw twice each.
    assert_eq!(conditions.len(), 1 + 2 * (7 + 6 + 5));
    assert_eq!(conditions[0], timestep);
    let kind = StepKind::new(Half::Decoder, Position::Whole);
    let step = Step { kind, batch: 1, frames: 2, height: 2, width: 3 };
    let graph = declare(&*model, &step, &Taps::None).unwrap();
    let inputs = graph.nodes().filter_map(|(_, node)| match &node.op {
        Op::Input { name, ty } => Some((name.as_str(), ty.shape.to_vec())),
        _ => None,
    });
    let inputs: Vec<_> = inputs.collect();
    assert_eq!(inputs.len(), 1 + conditions.len());
    assert_eq!(inputs[0], ("latents", vec![1, 128, 2, 2, 3]));
    assert_eq!(inputs[1], ("timestep", vec![1]));
    assert_eq!(inputs[2], ("noise.0", vec![1, 1, 1, 4, 6]));
    assert_eq!(inputs[16], ("noise.14", vec![1, 1, 1, 8, 12]));
    assert_eq!(inputs[37], ("noise.35", vec![1, 1, 1, 16, 24]));
}

#[test]
fn bad_configurations_are_refused_by_field() {
    let range = "expected a whole number from 1 to 65536, found";
    refuses(FIRST, r#""latent_channels": 0"#, &[&format!("latent_channels: {range} 0")]);
    refuses(FIRST, r#""in_channels": 0"#, &[&format!("in_channels: {range} 0")]);
    refuses(FIRST, r#""block_out_channels": [4, 0]"#, &[&format!("block_out_channels: {range} 0 at index 1")]);
    refuses(FIRST, r#""block_out_channels": []"#, &["block_out_channels: expected a list of 1 to 12 numbers, found 0"]);
    refuses(
        FIRST,
        r#""upsample_factor": [1, 0]"#,
        &["upsample_factor: expected positive whole numbers, found 0 at index 1"],
    );
    refuses(FIRST, r#""patch_size": 65"#, &["patch_size: expected a whole number from 1 to 64, found 65"]);
    refuses(
        FIRST,
        r#""patch_size_t": 2"#,
        &["patch_size_t: expected 1: with patches of more frames the reference's first convolution does not fit; \
                found 2"],
    );
    refuses(
        FIRST,
        r#""layers_per_block": [1, 65, 1]"#,
        &["layers_per_block: expected whole numbers from 0 to 64, found 65"],
    );
    refuses(FIRST, r#""scaling_factor": 0"#, &["scaling_factor: expected a finite number other than 0, found 0.0"]);
    refuses(FIRST, r#""decoder_inject_noise": [true]"#, &["decoder_inject_noise: expected at least 3 values, found 1"]);
    refuses(
        FIRST,
        r#""down_block_types": ["LTXVideoDownBlock3D", "CogVideoXDownBlock3D"]"#,
        &["down_block_types: expected \"LTXVideoDownBlock3D\" or \"LTXVideo095DownBlock3D\", found \
                \"CogVideoXDownBlock3D\" at index 1"],
    );
    refuses(
        FIRST,
        r#""timestep_conditioning": true"#,
        &["timestep_conditioning: block 1 of the decoder makes 4 channels of 6, and the reference does not run so"],
    );
    refuses(
        FIRST,
        r#""upsample_factor": [2, 1]"#,
        &["decoder_block_out_channels: block 1 of the decoder makes 2 channels of 3, which takes a factor of 1; \
             found 2"],
    );
    refuses(
        FIRST,
        r#""upsample_residual": [true, false], "decoder_block_out_channels": [6, 6]"#,
        &["decoder_block_out_channels: block 1 of the decoder cannot make 6 channels of 6 by a factor of 1"],
    );
    refuses(
        FIRST,
        r#""decoder_spatio_temporal_scaling": [true, true]"#,
        &[
            "decoder_spatio_temporal_scaling: the decoder makes 4 frames of a latent, the encoder one latent of 2; \
                both must be the same",
            "decoder_spatio_temporal_scaling: the decoder makes 8 pixels of a latent, the encoder one latent of 4; \
                both must be the same",
        ],
    );
    refuses(
        FIRST,
        r#""spatial_compression_ratio": 32"#,
        &["spatial_compression_ratio: expected 4, as the samplers make it, or null; found 32"],
    );
    refuses(
        SECOND,
        r#""block_out_channels": [8, 9]"#,
        &["block_out_channels: expected the channels behind block 1 to be a multiple of 2 that divides 16, 2 \
                times those in front of \
           it; found 9"],
    );
    refuses(
        SECOND,
        r#""downsample_type": ["spatial", "conv"], "block_out_channels": [8, 16]"#,
        &["block_out_channels: expected the channels behind block 1 to be 8, as no pixel shuffle changes them; \
                found 16"],
    );
    refuses(
        SECOND,
        r#""downsample_type": ["spatial", "area"]"#,
        &["downsample_type: expected \"conv\", \"spatial\", \"temporal\" or \"spatiotemporal\", found \"area\" at \
                index 1"],
    );
    refuses(
        SECOND,
        r#""upsample_type": ["conv", "spatial"]"#,
        &["upsample_type: expected \"spatial\", \"temporal\" or \"spatiotemporal\", found \"conv\" at index 0"],
    );
    refuses(
        SECOND,
        r#""decoder_spatial_padding_mode": "circular""#,
        &["decoder_spatial_padding_mode: expected \"zeros\", \"reflect\" or \"replicate\", found \"circular\""],
    );
    refuses(
        SECOND,
        r#""upsample_residual": "yes""#,
        &["upsample_residual: expected true, false or a list of them, found \"yes\""],
    );
}

#[test]
fn taps_are_named_as_modules_are() {
    let names = |common: &str, fields: &str, half| tap_names(&*small(common, fields), half).unwrap();
    let decoder = names(FIRST, NOTHING, Half::Decoder);
    for name in ["decoder.up_blocks.1.conv_in.conv_shortcut.conv", "decoder.up_blocks.1.upsamplers.0.conv.conv"] {
        assert!(decoder.iter().any(|found| found == name), "{name}: {decoder:?}");
    }
    let second = names(SECOND, r#""timestep_conditioning": true"#, Half::Decoder);
    let linear = "decoder.up_blocks.0.time_embedder.timestep_embedder.linear_2";
    assert!(second.iter().any(|found| found == linear), "{second:?}");
}
