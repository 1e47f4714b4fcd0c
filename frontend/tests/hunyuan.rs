//! `AutoencoderKLHunyuanVideo` and `AutoencoderKLHunyuanVideo15`: configurations other than the
//! published ones, ragged sizes, clips of any length.

use std::sync::Arc;

use frontend::{Autoencoder, Half, Position, Step, StepKind, Taps, declare, read_config};
use ir::verify::verify;

/// The model of a class with these fields.
fn model(class: &str, fields: &str) -> Arc<dyn Autoencoder> {
    let config = format!("{{\"_class_name\": \"{class}\", {fields}}}");
    let (model, warnings) = read_config(&config).unwrap_or_else(|error| panic!("{fields}: {error}"));
    assert_eq!(warnings, vec![]);
    model
}

fn hunyuan_video(levels: usize, fields: &str) -> Arc<dyn Autoencoder> {
    let types = |block: &str| format!("[{}]", vec![format!("\"HunyuanVideo{block}Block3D\""); levels].join(", "));
    let (down, up) = (types("Down"), types("Up"));
    let fields = format!("\"down_block_types\": {down}, \"up_block_types\": {up}, \"norm_num_groups\": 2, {fields}");
    model("AutoencoderKLHunyuanVideo", &fields)
}

fn hunyuan_video15(fields: &str) -> Arc<dyn Autoencoder> {
    model("AutoencoderKLHunyuanVideo15", &format!("\"latent_channels\": 2, {fields}"))
}

/// Declares a whole clip and checks the shape of what comes of it.
fn check(model: &dyn Autoencoder, half: Half, frames: usize, [height, width]: [usize; 2]) {
    let kind = StepKind::new(half, Position::Whole);
    let step = Step { kind, batch: 2, frames, height, width };
    let what = format!("{step} of {:?}", model.fields());
    let graph = declare(model, &step, &Taps::All).unwrap_or_else(|error| panic!("{what}: {error}"));
    verify(&graph).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let result = graph.ty(graph.outputs()[0].value).shape.to_vec();
    let [rows, columns] = [height, width].map(|size| model.result_size(half, size));
    assert_eq!(result, [2, model.result_channels(half), model.clip_frames(half, frames), rows, columns], "{what}");
}

#[test]
fn every_configuration_of_hunyuan_video_is_declared() {
    let mut compressions = vec![];
    for (levels, fields) in [
        (4, r#""block_out_channels": [2, 4, 6, 6], "layers_per_block": 1"#),
        (3, r#""block_out_channels": [2, 4, 4], "layers_per_block": 2, "mid_block_add_attention": false"#),
        (3, r#""block_out_channels": [4, 2, 2], "spatial_compression_ratio": 1, "latent_channels": 1"#),
        (5, r#""block_out_channels": [2, 2, 2, 2, 4], "spatial_compression_ratio": 5, "act_fn": "swish""#),
        (
            5,
            r#""block_out_channels": [2, 2, 2, 2, 2], "spatial_compression_ratio": 64, "in_channels": 1, "out_channels": 4"#,
        ),
    ] {
        let model = hunyuan_video(levels, fields);
        for frames in [1, 2, 4, 5, 6] {
            check(&*model, Half::Decoder, frames, [1, 3]);
            for size in [[1, 9], [18, 29]] {
                check(&*model, Half::Encoder, frames, size);
            }
        }
        compressions.push((model.spatial_compression(), model.temporal_compression()));
    }
    assert_eq!(compressions, [(8, 4), (8, 4), (1, 4), (4, 4), (32, 4)]);
}

#[test]
fn every_configuration_of_hunyuan_video_15_is_declared() {
    for fields in [
        r#""block_out_channels": [8, 16, 8, 16, 16], "layers_per_block": 1"#,
        r#""block_out_channels": [4], "spatial_compression_ratio": 1, "temporal_compression_ratio": 1"#,
        r#""block_out_channels": [4, 8], "spatial_compression_ratio": 2, "temporal_compression_ratio": 1"#,
        r#""block_out_channels": [8, 16], "spatial_compression_ratio": 2, "temporal_compression_ratio": 2"#,
        r#""block_out_channels": [8, 16, 16], "spatial_compression_ratio": 8, "downsample_match_channel": false, "upsample_match_channel": false"#,
        r#""block_out_channels": [8, 8, 8, 8], "spatial_compression_ratio": 8, "temporal_compression_ratio": 8"#,
    ] {
        let model = hunyuan_video15(fields);
        let (space, time) = (model.spatial_compression(), model.temporal_compression());
        for frames in [1, 2, 3] {
            check(&*model, Half::Decoder, frames, [1, 2]);
            check(&*model, Half::Encoder, 1 + (frames - 1) * time, [space, 2 * space]);
        }
    }
}

#[test]
fn hunyuan_video_15_encodes_whole_blocks_of_pixels_and_frames() {
    let model = hunyuan_video15(r#""block_out_channels": [8, 8, 8], "spatial_compression_ratio": 4"#);
    let refused = |frames, height| {
        let kind = StepKind::new(Half::Encoder, Position::Whole);
        let step = Step { kind, batch: 1, frames, height, width: 4 };
        declare(&*model, &step, &Taps::None).expect_err("no whole blocks").to_string()
    };
    let ragged = refused(1, 6);
    assert!(ragged.contains("height and width must be multiples of 4"), "{ragged}");
    let frames = refused(4, 4);
    assert!(frames.contains("expected one and a multiple of 4, found 4 frames"), "{frames}");
    // Frames behind the last whole block are not read.
    assert_eq!([1, 4, 5, 8, 9].map(|frames| model.encoded_frames(frames)), [1, 1, 2, 2, 3]);
}
