//! `AutoencoderKL`: its configuration, and the images that it declares.

use frontend::autoencoder_kl::Config;
use frontend::{
    Autoencoder, Configuration, Configured, Half, Medium, Position, Step, StepKind, Taps, declare, parameters,
    tap_names,
};
use ir::Role;
use ir::verify::verify;

/// A configuration with these levels and 4 groups.
fn small(block_out_channels: &[usize]) -> Config {
    let levels = block_out_channels.len();
    Config {
        block_out_channels: block_out_channels.to_vec(),
        down_block_types: vec!["DownEncoderBlock2D".to_owned(); levels],
        up_block_types: vec!["UpDecoderBlock2D".to_owned(); levels],
        norm_num_groups: 4,
        ..Config::default()
    }
}

#[test]
fn every_field_is_read() {
    let (config, warnings) = Config::from_json(
        r#"{"_class_name": "AutoencoderKL", "_diffusers_version": "0.42.1", "in_channels": 4, "out_channels": 2,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        "block_out_channels": [8, 16], "layers_per_block": 5,
        "act_fn": "SiLU", "latent_channels": 2, "norm_num_groups": 4, "sample_size": 48, "scaling_factor": 0.7,
        "shift_factor": 0.5, "latents_mean": [0, -1.5], "latents_std": [1, 2.5], "force_upcast": false,
        "use_quant_conv": false, "use_post_quant_conv": false, "mid_block_add_attention": false}"#,
    )
    .unwrap();
    let expected = Config {
        in_channels: 4,
        out_channels: 2,
        layers_per_block: 5,
        act_fn: "SiLU".to_owned(),
        latent_channels: 2,
        sample_size: 48,
        scaling_factor: 0.7,
        shift_factor: Some(0.5),
        latents_mean: Some(vec![0.0, -1.5]),
        latents_std: Some(vec![1.0, 2.5]),
        force_upcast: false,
        use_quant_conv: false,
        use_post_quant_conv: false,
        mid_block_add_attention: false,
        ..small(&[8, 16])
    };
    assert_eq!((config, warnings), (expected, vec![]));
    assert_eq!(Config::from_json("{}").unwrap(), (Config::default(), vec![]));
    assert_eq!(Config::default().problems(), []);
}

#[test]
fn what_cannot_be_done_is_refused_by_its_field() {
    for (fields, expected) in [
        (
            r#""down_block_types": ["AttnDownEncoderBlock2D"]"#,
            "down_block_types: expected \"DownEncoderBlock2D\" everywhere, found \"AttnDownEncoderBlock2D\" at index 0",
        ),
        (
            r#""up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]"#,
            "up_block_types: expected 1 types, as block_out_channels has 1 numbers, found 2",
        ),
        (r#""act_fn": "relu""#, "act_fn: expected \"silu\" or its other name \"swish\", found \"relu\""),
        (r#""layers_per_block": 0"#, "layers_per_block: expected a whole number from 1 to 64, found 0"),
        (
            r#""norm_num_groups": 5"#,
            "norm_num_groups: expected a divisor of every channel count, but 5 groups do not divide \
             block_out_channels[0] = 64",
        ),
        (r#""sample_size": 0"#, "sample_size: expected a whole number from 1 to 1048576, found 0"),
        (r#""scaling_factor": 0"#, "scaling_factor: expected a finite number other than 0, found 0.0"),
        (r#""latents_std": [1, 2]"#, "latents_std: expected 4 numbers, one a latent channel, found 2"),
        (r#""latents_std": [1, 2, 0, 1]"#, "latents_std: expected finite numbers greater than 0, found 0.0 at index 2"),
    ] {
        let error = Config::from_json(&format!("{{{fields}}}")).expect_err(fields);
        assert_eq!(error.to_string(), expected);
    }
    let sizes = Config::from_json(r#"{"sample_size": [32, 32]}"#).unwrap_err().to_string();
    assert!(sizes.starts_with("sample_size: expected a positive whole number, found [32"), "{sizes}");
}

#[test]
fn images_have_the_shapes_of_the_reference() {
    for (levels, compression) in [(&[8][..], 1), (&[8, 16], 2), (&[8, 8, 16, 12], 8)] {
        for (attention, convolutions) in [(true, true), (false, false)] {
            let config = Config {
                mid_block_add_attention: attention,
                use_quant_conv: convolutions,
                use_post_quant_conv: convolutions,
                ..small(levels)
            };
            assert_eq!((config.medium(), config.spatial_compression()), (Medium::Image, compression));
            for (half, height, width, name, expected) in [
                (Half::Decoder, 3, 5, "sample", [2, 3, 1, 3 * compression, 5 * compression]),
                (Half::Encoder, 25, 18, "parameters", [2, 8, 1, 25 / compression, 18 / compression]),
            ] {
                let step = Step { kind: StepKind::new(half, Position::Whole), batch: 2, frames: 1, height, width };
                let graph = declare(&config, &step, &Taps::All).unwrap();
                verify(&graph).unwrap();
                let result = graph.output(Role::Result, name).expect("the result");
                assert_eq!(graph.ty(result).shape.as_slice(), expected);
            }
            let names: Vec<String> = Half::ALL
                .into_iter()
                .flat_map(|half| parameters(&config, half).unwrap())
                .map(|(name, _)| name)
                .collect();
            let has = |part: &str| names.iter().any(|name| name.contains(part));
            assert_eq!((has("attentions.0.to_out.0.bias"), has("quant_conv.weight")), (attention, convolutions));
            let taps = tap_names(&config, Half::Decoder).unwrap();
            assert_eq!(taps.contains(&"decoder.mid_block.attentions.0.to_q".to_owned()), attention);
        }
    }
}

#[test]
fn an_image_is_one_frame() {
    for half in Half::ALL {
        let step = Step { kind: StepKind::new(half, Position::Whole), batch: 1, frames: 2, height: 8, width: 8 };
        let error = declare(&small(&[8, 16]), &step, &Taps::None).unwrap_err().to_string();
        assert!(error.contains("expected 1, an image, found 2 frames"), "{error}");
    }
}
