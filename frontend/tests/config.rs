//! Reading `config.json`: defaults, warnings, and every way in which a field can be wrong.

use frontend::cogvideox::{CausalPadding, Config};
use frontend::{ConfigError, ConfigWarning, Configuration};

/// Reads an object with these fields, and expects exactly these lines of complaint.
#[track_caller]
fn refuses(fields: &str, expected: &[&str]) {
    let error = Config::from_json(&format!("{{{fields}}}")).expect_err("a bad configuration");
    let text = error.to_string();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[track_caller]
fn reads(fields: &str) -> (Config, Vec<ConfigWarning>) {
    Config::from_json(&format!("{{{fields}}}")).unwrap_or_else(|error| panic!("{fields}: {error}"))
}

#[test]
fn absent_fields_have_defaults() {
    assert_eq!(reads(""), (Config::default(), vec![]));
    assert_eq!(reads(r#""_class_name": "AutoencoderKLCogVideoX""#), (Config::default(), vec![]));
}

#[test]
fn every_field_is_read() {
    let (config, warnings) = reads(
        r#"
        "_class_name": "AutoencoderKLCogVideoX", "_diffusers_version": "0.42.1", "_name_or_path": 7,
        "in_channels": 4, "out_channels": 2, "latent_channels": 2, "layers_per_block": 5,
        "down_block_types": ["CogVideoXDownBlock3D", "CogVideoXDownBlock3D"],
        "up_block_types": ["CogVideoXUpBlock3D", "CogVideoXUpBlock3D"],
        "block_out_channels": [8, 16], "act_fn": "Swish", "norm_eps": 1e-5, "norm_num_groups": 4,
        "temporal_compression_ratio": 2.0, "sample_height": 32, "sample_width": 48, "scaling_factor": 0.7,
        "shift_factor": 0.5, "latents_mean": [0, -1.5], "latents_std": [1, 2.5], "force_upcast": false,
        "use_quant_conv": true, "use_post_quant_conv": true, "invert_scale_latents": true, "pad_mode": "replicate""#,
    );
    let expected = Config {
        in_channels: 4,
        out_channels: 2,
        down_block_types: vec!["CogVideoXDownBlock3D".to_owned(); 2],
        up_block_types: vec!["CogVideoXUpBlock3D".to_owned(); 2],
        block_out_channels: vec![8, 16],
        latent_channels: 2,
        layers_per_block: 5,
        act_fn: "Swish".to_owned(),
        norm_eps: 1e-5,
        norm_num_groups: 4,
        temporal_compression_ratio: 2.0,
        sample_height: 32,
        sample_width: 48,
        scaling_factor: 0.7,
        shift_factor: Some(0.5),
        latents_mean: Some(vec![0.0, -1.5]),
        latents_std: Some(vec![1.0, 2.5]),
        force_upcast: false,
        use_quant_conv: true,
        use_post_quant_conv: true,
        invert_scale_latents: true,
        pad_mode: CausalPadding::Replicate,
    };
    assert_eq!((config, warnings), (expected, vec![]));
    assert_eq!(reads(r#""shift_factor": null, "latents_mean": null, "latents_std": null"#).0, Config::default());
}

#[test]
fn unknown_fields_give_warnings() {
    let (config, warnings) = reads(r#""sample_size": 256, "_private": 1, "mid_block_add_attention": true"#);
    assert_eq!(config, Config::default());
    let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "sample_size: AutoencoderKLCogVideoX has no such field; ignored",
            "mid_block_add_attention: AutoencoderKLCogVideoX has no such field; ignored"
        ]
    );
}

#[test]
fn what_is_no_configuration_of_this_class_is_refused() {
    assert!(matches!(Config::from_json("{\"in_channels\": "), Err(ConfigError::Syntax(_))));
    assert!(matches!(Config::from_json(""), Err(ConfigError::Syntax(_))));
    assert!(matches!(Config::from_json("{\"scaling_factor\": NaN}"), Err(ConfigError::Syntax(_))));
    assert!(matches!(Config::from_json("{\"scaling_factor\": 1e999}"), Err(ConfigError::Syntax(_))));
    let error = Config::from_json("[1, 2]").unwrap_err();
    assert_eq!(error.to_string(), "expected an object with the fields of AutoencoderKLCogVideoX, found [1,2]");
    refuses(
        r#""_class_name": "AutoencoderKLWan", "in_channels": "three""#,
        &["_class_name: expected \"AutoencoderKLCogVideoX\", found \"AutoencoderKLWan\"; \
           this is the configuration of another model"],
    );
    refuses(
        r#""_class_name": null"#,
        &["_class_name: expected \"AutoencoderKLCogVideoX\", found null; this is the configuration of another model"],
    );
}

#[test]
fn wrong_types_name_the_field() {
    let whole = "expected a positive whole number";
    for (fields, message) in [
        (r#""in_channels": "3""#, format!("in_channels: {whole}, found \"3\"")),
        (r#""out_channels": -3"#, format!("out_channels: {whole}, found -3")),
        (r#""latent_channels": 1.5"#, format!("latent_channels: {whole}, found 1.5")),
        (r#""layers_per_block": [3]"#, format!("layers_per_block: {whole}, found [3]")),
        (r#""norm_num_groups": null"#, format!("norm_num_groups: {whole}, found null")),
        (r#""sample_height": 1e30"#, format!("sample_height: {whole}, found 1e+30")),
        (r#""sample_width": true"#, format!("sample_width: {whole}, found true")),
        (
            r#""block_out_channels": "abc""#,
            "block_out_channels: expected a list of positive whole numbers, found \"abc\"".to_owned(),
        ),
        (
            r#""block_out_channels": [8, "x"]"#,
            "block_out_channels: expected a list of positive whole numbers, found [8,\"x\"]".to_owned(),
        ),
        (r#""down_block_types": [1]"#, "down_block_types: expected a list of texts, found [1]".to_owned()),
        (r#""up_block_types": {}"#, "up_block_types: expected a list of texts, found {}".to_owned()),
        (r#""act_fn": 1"#, "act_fn: expected text, found 1".to_owned()),
        (r#""norm_eps": "small""#, "norm_eps: expected a number, found \"small\"".to_owned()),
        (r#""temporal_compression_ratio": []"#, "temporal_compression_ratio: expected a number, found []".to_owned()),
        (r#""scaling_factor": null"#, "scaling_factor: expected a number, found null".to_owned()),
        (r#""shift_factor": "no""#, "shift_factor: expected a number or null, found \"no\"".to_owned()),
        (r#""latents_mean": 1"#, "latents_mean: expected a list of numbers or null, found 1".to_owned()),
        (r#""latents_std": ["a"]"#, "latents_std: expected a list of numbers or null, found [\"a\"]".to_owned()),
        (r#""force_upcast": "yes""#, "force_upcast: expected true or false, found \"yes\"".to_owned()),
        (r#""use_quant_conv": 1"#, "use_quant_conv: expected true or false, found 1".to_owned()),
        (r#""use_post_quant_conv": 1"#, "use_post_quant_conv: expected true or false, found 1".to_owned()),
        (r#""invert_scale_latents": 0"#, "invert_scale_latents: expected true or false, found 0".to_owned()),
        (r#""pad_mode": "constant""#, "pad_mode: expected \"first\" or \"replicate\", found \"constant\"".to_owned()),
    ] {
        refuses(fields, &[&message]);
    }
    let long = format!("\"act_fn\": [\"{}\"]", "é".repeat(500));
    let shown = format!("act_fn: expected text, found [\"{}...", "é".repeat(78));
    refuses(&long, &[&shown]);
}

#[test]
fn values_that_cannot_be_honoured_are_refused() {
    for (fields, message) in [
        (r#""in_channels": 0"#, "in_channels: expected a whole number from 1 to 65536, found 0"),
        (r#""out_channels": 65537"#, "out_channels: expected a whole number from 1 to 65536, found 65537"),
        (r#""latent_channels": 0"#, "latent_channels: expected a whole number from 1 to 65536, found 0"),
        (r#""layers_per_block": 65"#, "layers_per_block: expected a whole number from 0 to 64, found 65"),
        (r#""norm_num_groups": 0"#, "norm_num_groups: expected a whole number from 1 to 65536, found 0"),
        (r#""sample_height": 0"#, "sample_height: expected a whole number from 1 to 1048576, found 0"),
        (r#""sample_width": 9999999"#, "sample_width: expected a whole number from 1 to 1048576, found 9999999"),
        (
            r#""block_out_channels": [0, 32, 32, 32]"#,
            "block_out_channels: expected whole numbers from 1 to 65536, found 0 at index 0",
        ),
        (
            r#""block_out_channels": [32, 32, 40, 32]"#,
            "norm_num_groups: expected a divisor of every channel count, but 32 groups do not divide \
             block_out_channels[2] = 40",
        ),
        (r#""act_fn": "gelu""#, "act_fn: expected \"silu\" or its other name \"swish\", found \"gelu\""),
        (r#""norm_eps": 0"#, "norm_eps: expected a finite number greater than 0, found 0.0"),
        (r#""norm_eps": -1e-6"#, "norm_eps: expected a finite number greater than 0, found -1e-6"),
        (
            r#""temporal_compression_ratio": 0.5"#,
            "temporal_compression_ratio: expected a number from 1 to 4096, found 0.5",
        ),
        (
            r#""temporal_compression_ratio": 1e9"#,
            "temporal_compression_ratio: expected a number from 1 to 4096, found 1000000000.0",
        ),
        (r#""scaling_factor": 0.0"#, "scaling_factor: expected a finite number other than 0, found 0.0"),
        (r#""latents_mean": [1, 2]"#, "latents_mean: expected 16 numbers, one a latent channel, found 2"),
        (
            r#""latent_channels": 2, "latents_std": [1.0]"#,
            "latents_std: expected 2 numbers, one a latent channel, found 1",
        ),
        (
            r#""latent_channels": 2, "latents_std": [1.0, 0]"#,
            "latents_std: expected finite numbers greater than 0, found 0.0 at index 1",
        ),
        (
            r#""use_quant_conv": true"#,
            "use_quant_conv: expected false: the reference builds this convolution for out_channels (3) and gives it \
             latent_channels (16), which only works where they are equal",
        ),
        (
            r#""use_post_quant_conv": true"#,
            "use_post_quant_conv: expected false: the reference builds this convolution for out_channels (3) and gives \
             it latent_channels (16), which only works where they are equal",
        ),
        (
            concat!(
                r#""down_block_types": ["CogVideoXDownBlock3D", "DownBlock2D", "#,
                r#""CogVideoXDownBlock3D", "CogVideoXDownBlock3D"]"#
            ),
            "down_block_types: expected \"CogVideoXDownBlock3D\" everywhere, found \"DownBlock2D\" at index 1",
        ),
        (
            r#""up_block_types": ["CogVideoXUpBlock3D"]"#,
            "up_block_types: expected 4 types, as block_out_channels has 4 numbers, found 1",
        ),
    ] {
        refuses(fields, &[message]);
    }
    refuses(
        r#""block_out_channels": [], "down_block_types": [], "up_block_types": []"#,
        &["block_out_channels: expected a list of 1 to 12 numbers, found 0"],
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    refuses(
        r#""in_channels": "3", "block_out_channels": "abc", "up_block_types": ["CogVideoXUpBlock3D"], "act_fn": "relu",
           "scaling_factor": 0, "sample_size": 3"#,
        &[
            "in_channels: expected a positive whole number, found \"3\"",
            "block_out_channels: expected a list of positive whole numbers, found \"abc\"",
            "act_fn: expected \"silu\" or its other name \"swish\", found \"relu\"",
            "scaling_factor: expected a finite number other than 0, found 0.0",
        ],
    );
}
