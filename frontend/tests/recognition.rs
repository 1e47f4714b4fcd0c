//! Models of many sizes found in the names and shapes of their tensors, whole and of one half.

use std::sync::Arc;

use frontend::{Autoencoder, Half, Told, parameters, read_config, recognise};

fn model(fields: &str) -> Arc<dyn Autoencoder> {
    read_config(&format!("{{{fields}}}")).unwrap_or_else(|error| panic!("{fields}: {error}")).0
}

/// Names and shapes of a half's tensors.
fn tensors(model: &dyn Autoencoder, half: Half) -> Vec<(String, Vec<usize>)> {
    let found = parameters(model, half).unwrap_or_else(|error| panic!("{error}"));
    found.into_iter().map(|(name, shape)| (name, shape.to_vec())).collect()
}

/// Whether a model is found that has the tensors of these halves, in a file that has no others.
fn is_found(model: &dyn Autoencoder, halves: &[Half], told: &Told) -> bool {
    let file: Vec<_> = halves.iter().flat_map(|half| tensors(model, *half)).collect();
    let shapes = file.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    recognise(&shapes, told).iter().any(|found| {
        let found = &*found.model;
        found.class_name() == model.class_name()
            && found.problems().is_empty()
            && halves.iter().all(|half| tensors(found, *half) == tensors(model, *half))
    })
}

#[test]
fn models_of_other_sizes_are_found() {
    const MOCHI: &str = r#""_class_name": "AutoencoderKLMochi", "latents_mean": null, "latents_std": null"#;
    const COSMOS: &str = r#""_class_name": "AutoencoderKLCosmos", "latents_mean": null, "latents_std": null,
        "encoder_block_out_channels": [4, 6, 6, 6], "decode_block_out_channels": [4, 6, 6, 8], "latent_channels": 2"#;
    const LTX: &str = r#""_class_name": "AutoencoderKLLTXVideo", "latent_channels": 6"#;
    const LTX2: &str = r#""_class_name": "AutoencoderKLLTX2Video", "latent_channels": 16, "decoder_causal": false"#;
    let nothing = Told::default();
    for (class, fields) in [
        (
            MOCHI,
            r#""encoder_block_out_channels": [32, 64], "decoder_block_out_channels": [64, 32], "temporal_expansions": [3],
                "spatial_expansions": [2], "layers_per_block": [1, 2, 1], "add_attention_block": [true, false, true]"#,
        ),
        (
            MOCHI,
            r#""encoder_block_out_channels": [32, 32, 64], "decoder_block_out_channels": [32, 64, 96], "in_channels": 5,
                "out_channels": 1, "temporal_expansions": [1, 5], "spatial_expansions": [2, 2], "latent_channels": 3,
                "layers_per_block": [2, 1, 3, 2], "add_attention_block": [false, false, false, false]"#,
        ),
        (
            r#""_class_name": "AutoencoderKLTemporalDecoder""#,
            r#""block_out_channels": [32, 64, 96], "layers_per_block": 3, "in_channels": 1, "out_channels": 4,
                "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"]"#,
        ),
        (r#""_class_name": "AutoencoderKLTemporalDecoder""#, r#""block_out_channels": [32], "layers_per_block": 1"#),
        (COSMOS, r#""resolution": 32, "attention_resolutions": [4]"#),
        (
            COSMOS,
            r#""patch_size": 2, "spatial_compression_ratio": 8, "temporal_compression_ratio": 4, "num_layers": 1,
                "resolution": 64, "attention_resolutions": [32, 8]"#,
        ),
        (COSMOS, r#""patch_size": 1, "spatial_compression_ratio": 4, "temporal_compression_ratio": 2"#),
        (
            r#""_class_name": "AutoencoderKLMagvit""#,
            r#""block_out_channels": [32, 64], "layers_per_block": 1, "in_channels": 1, "latent_channels": 3,
                "down_block_types": ["SpatialTemporalDownBlock3D", "SpatialTemporalDownBlock3D"],
                "up_block_types": ["SpatialTemporalUpBlock3D", "SpatialTemporalUpBlock3D"]"#,
        ),
        (
            r#""_class_name": "AutoencoderKLAllegro""#,
            r#""block_out_channels": [32, 64, 64], "layers_per_block": 1, "latent_channels": 7,
                "down_block_types": ["AllegroDownBlock3D", "AllegroDownBlock3D", "AllegroDownBlock3D"],
                "up_block_types": ["AllegroUpBlock3D", "AllegroUpBlock3D", "AllegroUpBlock3D"],
                "temporal_downsample_blocks": [false, true, false], "temporal_upsample_blocks": [false, true, false],
                "temporal_compression_ratio": 2"#,
        ),
        (
            LTX,
            r#""block_out_channels": [6, 10, 12], "down_block_types": ["LTXVideoDownBlock3D", "LTXVideoDownBlock3D",
                "LTXVideoDownBlock3D"], "decoder_block_out_channels": [6, 10, 12], "layers_per_block": [1, 2, 1, 3],
                "decoder_layers_per_block": [2, 1, 1, 2], "spatio_temporal_scaling": [true, true, false],
                "decoder_spatio_temporal_scaling": [true, true, false], "decoder_inject_noise": [false, false, false, false],
                "upsample_residual": [false, false, false], "upsample_factor": [1, 1, 1], "patch_size": 2"#,
        ),
        (
            LTX,
            r#""block_out_channels": [8, 16, 32], "down_block_types": ["LTXVideo095DownBlock3D", "LTXVideo095DownBlock3D"],
                "downsample_type": ["spatiotemporal", "spatiotemporal"], "decoder_block_out_channels": [8, 16],
                "layers_per_block": [1, 2, 1], "decoder_layers_per_block": [1, 3, 1],
                "spatio_temporal_scaling": [true, true], "decoder_spatio_temporal_scaling": [true, true],
                "decoder_inject_noise": [true, false, true], "upsample_residual": [true, true], "upsample_factor": [2, 2],
                "timestep_conditioning": true"#,
        ),
        (
            LTX2,
            r#""block_out_channels": [16, 32, 32], "down_block_types": ["LTX2VideoDownBlock3D", "LTX2VideoDownBlock3D",
                "LTX2VideoDownBlock3D"], "downsample_type": ["temporal", "spatial", "spatiotemporal"],
                "decoder_block_out_channels": [16, 16, 32], "layers_per_block": [2, 1, 1, 1],
                "decoder_layers_per_block": [1, 1, 2, 1], "spatio_temporal_scaling": true,
                "decoder_spatio_temporal_scaling": true, "decoder_inject_noise": false,
                "upsample_type": ["spatial", "spatiotemporal", "temporal"], "upsample_residual": false,
                "upsample_factor": [1, 1, 2], "patch_size": 1"#,
        ),
    ] {
        let model = model(&format!("{class}, {fields}"));
        assert!(is_found(&*model, &Half::ALL, &nothing), "{class}, {fields}");
        assert!(is_found(&*model, &[Half::Decoder], &nothing), "the decoder of {class}, {fields}");
        // An encoder of single frames is that of a model of images.
        let is_own = !class.contains("TemporalDecoder");
        assert_eq!(is_found(&*model, &[Half::Encoder], &nothing), is_own, "the encoder of {class}, {fields}");
    }
}

#[test]
fn what_is_told_counts_before_what_is_guessed() {
    let model = model(
        r#""_class_name": "AutoencoderKL", "block_out_channels": [10, 20], "norm_num_groups": 5, "scaling_factor": 2.5,
            "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]"#,
    );
    let told = |text: &str| Told::read(text).expect("an object");
    assert!(!is_found(&*model, &Half::ALL, &Told::default()));
    for (text, is_told) in [
        (r#"{"norm_num_groups": 5}"#, true),
        (r#"{"_class_name": "AutoencoderKL", "_diffusers_version": "0.42.1", "norm_num_groups": 5}"#, true),
        (r#"{"vae": {"norm_num_groups": 5}, "transformer": {"layers": 3}}"#, true),
        (r#"{"norm_num_groups": 3}"#, false),
        (r#"{"norm_num_groups": 5, "z_dim": 4}"#, false),
        (r#"{"_class_name": "AutoencoderKLFlux2", "norm_num_groups": 5}"#, false),
        (r#"{"_class_name": "SomethingElse", "norm_num_groups": 5}"#, false),
    ] {
        assert_eq!(is_found(&*model, &Half::ALL, &told(text)), is_told, "{text}");
    }
    assert!(Told::read("[1]").is_none() && Told::read("{").is_none() && Told::read(r#"{"vae": null}"#).is_none());
}
