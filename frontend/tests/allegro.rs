//! `AutoencoderKLAllegro`: sizes, steps, other configurations than the published one.

use std::sync::Arc;

use frontend::{
    Autoencoder, Corners, DeclareError, FrameSteps, Half, LastTile, Position, Step, StepKind, Taps, declare,
    read_config,
};
use ir::verify::verify;

fn model(fields: &str) -> Arc<dyn Autoencoder> {
    let text = format!(r#"{{"_class_name": "AutoencoderKLAllegro"{fields}}}"#);
    read_config(&text).unwrap_or_else(|error| panic!("{fields}: {error}")).0
}

/// Fields of small models of one, two and three levels.
const SMALL: [&str; 3] = [
    r#", "block_out_channels": [4], "down_block_types": ["AllegroDownBlock3D"], "up_block_types": ["AllegroUpBlock3D"],
        "temporal_downsample_blocks": [true], "temporal_upsample_blocks": [true], "temporal_compression_ratio": 2,
        "norm_num_groups": 2, "in_channels": 1, "out_channels": 4, "layers_per_block": 3"#,
    r#", "block_out_channels": [2, 6], "down_block_types": ["AllegroDownBlock3D", "AllegroDownBlock3D"],
        "up_block_types": ["AllegroUpBlock3D", "AllegroUpBlock3D"], "temporal_downsample_blocks": [false, false],
        "temporal_upsample_blocks": [false, false], "temporal_compression_ratio": 1, "norm_num_groups": 1"#,
    r#", "block_out_channels": [4, 6, 8], "norm_num_groups": 2,
        "down_block_types": ["AllegroDownBlock3D", "AllegroDownBlock3D", "AllegroDownBlock3D"],
        "up_block_types": ["AllegroUpBlock3D", "AllegroUpBlock3D", "AllegroUpBlock3D"],
        "temporal_downsample_blocks": [true, true, true], "temporal_upsample_blocks": [true, true, true],
        "temporal_compression_ratio": 8, "latent_channels": 1, "layers_per_block": 1"#,
];

#[test]
fn the_published_model_has_its_sizes() {
    let model = model("");
    assert_eq!((model.spatial_compression(), model.temporal_compression()), (8, 4));
    assert_eq!([model.decoded_frames(22), model.encoded_frames(88), model.encoded_frames(91)], [88, 22, 22]);
    assert_eq!(model.encoded_frames(3), 0);
    assert_eq!(model.frame_steps(Half::Encoder), FrameSteps::Units { unit: 4 });
    assert_eq!([Half::Decoder, Half::Encoder].map(|half| model.usual_frames(half)), [6, 24]);
    let rule = model.tile_rule(Half::Decoder);
    assert_eq!((rule.size, rule.overlap), ([320, 320], [0.375, 0.25]));
    assert_eq!((rule.last, rule.corners), (LastTile::ReachesTheEnd, Corners::Products));
    assert_eq!(model.latent_scaling().scaling_factor, 0.13);
}

#[test]
fn every_configuration_is_declared() {
    for fields in SMALL {
        let model = model(fields);
        for half in Half::ALL {
            let unit = model.least_size(half);
            let frames = if half == Half::Encoder { 2 * model.temporal_compression() } else { 3 };
            // A row more, which is rounded down.
            let [height, width] = [2 * unit + usize::from(half == Half::Encoder && unit > 1), unit];
            let kind = StepKind::new(half, Position::Whole);
            let graph = declare(&*model, &Step { kind, batch: 2, frames, height, width }, &Taps::All);
            let graph = graph.unwrap_or_else(|error| panic!("{fields}: {error}"));
            verify(&graph).unwrap_or_else(|error| panic!("{fields}, {kind}: {error:?}"));
            let result = graph.ty(graph.outputs()[0].value).shape.to_vec();
            let [height, width] = [height, width].map(|size| model.result_size(half, size));
            let frames = model.result_frames(kind, frames);
            assert_eq!(result, [2, model.result_channels(half), frames, height, width], "{fields}, {kind}");
        }
    }
}

#[test]
fn frames_that_do_not_halve_are_refused() {
    let model = model(SMALL[2]);
    let kind = StepKind::new(Half::Encoder, Position::Whole);
    let step = Step { kind, batch: 1, frames: 9, height: 8, width: 8 };
    let error = declare(&*model, &step, &Taps::None).expect_err("nine frames");
    assert!(matches!(error, DeclareError::Frames { .. }), "{error}");
    assert!(error.to_string().contains("expected a multiple of 8"), "{error}");
}
