//! Single files of weights in the names of a model's authors, or of other programs, without a
//! `config.json`: made of every golden checkpoint by renaming, they give the bits of its folder.
//!
//! What tensors do not show is said in as few fields as may be, with the reason, where the golden
//! checkpoint has another value than people's files.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use frontend::{Half, Medium, field_text};
use serde_json::json;
use tempfile::TempDir;
use tessera::model::locate;
use tessera::{RunOptions, Vae, VideoView};
use tests::goldens;
use tests::spellings::{
    blocks_of_ltx, in_factors, in_ldm, in_ldm_of_videos, in_ldm_over_time, in_lists, in_original_hunyuan_video15,
    in_stacks, in_taesd, wan, write_renamed,
};

/// What is said of a file beside its tensors.
enum Said {
    /// Nothing.
    Nothing,
    /// A configuration of these fields alone, because tensors do not show them, as they do not show
    /// that people's files have other values.
    Fields(&'static str, &'static str),
}

use Said::{Fields, Nothing};

/// A golden checkpoint, what people call such a file, its other names, and what must be said of it.
type Row = (&'static str, &'static str, fn(&str, &mut Vec<usize>) -> String, Said);

/// Diffusers' names: single files of these models have no others.
fn unchanged(name: &str, _shape: &mut Vec<usize>) -> String {
    name.to_owned()
}

const GROUPS: &str = "a norm's parameters are one a channel, however many groups it has";

const ROWS: [Row; 20] = [
    ("allegro", "vae", unchanged, Fields(r#"{"norm_num_groups": 4}"#, GROUPS)),
    ("autoencoder-dc", "vae", unchanged, Nothing),
    ("autoencoder-kl", "ae", in_ldm, Fields(r#"{"norm_num_groups": 5}"#, GROUPS)),
    ("autoencoder-tiny", "taesd", in_taesd, Nothing),
    ("cosmos", "cosmos_cv8x8x8_1.0", |name, _| in_factors(name), Nothing),
    ("flux2", "flux2-vae", in_ldm, Fields(r#"{"norm_num_groups": 4}"#, GROUPS)),
    ("hunyuan-video", "hunyuan_video_vae_bf16", in_ldm_of_videos, Fields(r#"{"norm_num_groups": 4}"#, GROUPS)),
    ("hunyuan-video-1.5", "hunyuanvideo15_vae_fp16", in_original_hunyuan_video15, Nothing),
    ("ltx-0.9.0", "ltx-video-2b-v0.9", |name, _| in_lists(name, &blocks_of_ltx("ltx-0.9.0")), Nothing),
    ("ltx-0.9.1", "ltx-video-2b-v0.9.1", |name, _| in_lists(name, &blocks_of_ltx("ltx-0.9.1")), Nothing),
    ("ltx-0.9.5", "ltx-video-2b-v0.9.5", |name, _| in_lists(name, &blocks_of_ltx("ltx-0.9.5")), Nothing),
    ("ltx-2.0", "ltx-2-19b", |name, _| in_lists(name, &blocks_of_ltx("ltx-2.0")), Nothing),
    ("ltx-2.3", "ltx-2.3-22b", |name, _| in_lists(name, &blocks_of_ltx("ltx-2.3")), Nothing),
    (
        "magvit",
        "vae",
        unchanged,
        Fields(
            r#"{"norm_num_groups": 4, "spatial_group_norm": false}"#,
            "neither groups nor the frames over which norms gather their statistics show in their parameters",
        ),
    ),
    ("mochi", "mochi_vae", |name, _| in_stacks("decoder.", name), Nothing),
    ("qwen-image", "qwen_image_vae", |name, _| wan(name, 1, false), Nothing),
    ("qwen-image-2.1", "qwen_image_2.1_vae", |name, _| wan(name, 1, true), Nothing),
    ("temporal-decoder", "svd", in_ldm_over_time, Nothing),
    ("wan-2.1", "wan_2.1_vae", |name, _| wan(name, 1, false), Nothing),
    ("wan-2.2", "wan2.2_vae", |name, _| wan(name, 1, true), Nothing),
];

/// What comes of inputs that are made up, in both halves, as bits.
fn results(vae: &Vae) -> [Vec<u32>; 2] {
    let options = RunOptions::default().with_threads(2);
    let model = vae.model();
    Half::ALL.map(|half| {
        let frames = match (model.medium(), half) {
            (Medium::Image, _) => 1,
            (Medium::Video, Half::Decoder) => 2,
            (Medium::Video, Half::Encoder) => 9,
        };
        let usual = if half == Half::Decoder { [2, 3] } else { [32, 16] };
        let unit = model.size_unit(half);
        let [height, width] = usual.map(|size: usize| size.max(model.least_size(half)).next_multiple_of(unit));
        let shape = [1, model.input_channels(half), frames, height, width];
        let data: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect();
        let input = VideoView { data: &data, shape };
        let result = match half {
            Half::Decoder => vae.decode_to_memory(input, &options, &mut ()),
            Half::Encoder => vae.encode(input, &options, &mut ()),
        };
        result.expect("a result").0.data.iter().map(|value| value.to_bits()).collect()
    })
}

/// A file of a golden checkpoint's weights under other names, by itself in a folder.
fn alone(row: &Row, metadata: Option<HashMap<String, String>>, prefix: &str) -> TempDir {
    let (model, file, rename, _) = row;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(format!("{file}.safetensors"));
    write_renamed(model, &path, metadata, |name, shape| format!("{prefix}{}", rename(name, shape)));
    folder
}

fn file(folder: &TempDir, row: &Row) -> std::path::PathBuf {
    folder.path().join(format!("{}.safetensors", row.1))
}

fn opened(path: &Path, config: Option<&Path>) -> tessera::Result<Vae> {
    Vae::open_files(&locate(path, config).expect("the file"))
}

#[test]
fn every_golden_checkpoint_is_known_by_its_tensors() {
    for row in &ROWS {
        let (model, _, _, said) = row;
        let own = Vae::open(&goldens().join("models").join(model)).expect("the checkpoint opens");
        let folder = alone(row, None, "");
        let vae = match said {
            Nothing => opened(&file(&folder, row), None).unwrap_or_else(|error| panic!("{model}: {error}")),
            Fields(fields, reason) => {
                let error = opened(&file(&folder, row), None).err().map(|error| error.to_string());
                let told = "do not tell enough: norm_num_groups";
                assert!(error.as_ref().is_some_and(|error| error.contains(told)), "{model}, {reason}: {error:?}");
                let config = folder.path().join("said.json");
                fs::write(&config, fields).expect("a file");
                opened(&file(&folder, row), Some(&config)).unwrap_or_else(|error| panic!("{model}: {error}"))
            }
        };
        let account = vae.account().join("; ");
        println!("{model}: {account}");
        assert!(account.contains(own.model().class_name()), "{model}: {account}");
        assert_eq!(vae.warnings(), &[] as &[String], "{model}");
        assert!(results(&vae) == results(&own), "{model}: {account}");
    }
}

#[test]
fn every_golden_checkpoint_is_in_the_table() {
    let entries = fs::read_dir(goldens().join("models")).expect("the goldens").map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.path().join("config.json").is_file());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ROWS.map(|row| row.0));
}

/// LTX's files carry their authors' configuration, with that of the transformer beside it.
#[test]
fn the_configuration_in_a_files_metadata_counts() {
    let row = &ROWS[11];
    assert_eq!(row.0, "ltx-2.0");
    let own = Vae::open(&goldens().join("models/ltx-2.0")).expect("the checkpoint opens");
    let config = |border: &str, residual: bool| {
        let vae = json!({
            "_class_name": "CausalVideoAutoencoder", "dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": 8,
            "encoder_blocks": [
                ["res_x", {"num_layers": 1}], ["compress_space_res", {"multiplier": 2}], ["res_x", {"num_layers": 1}],
                ["compress_time_res", {"multiplier": 1}], ["res_x", {"num_layers": 1}],
                ["compress_all_res", {"multiplier": 1}], ["res_x", {"num_layers": 1}],
            ],
            "decoder_blocks": [
                ["res_x", {"num_layers": 1}], ["compress_all", {"residual": residual, "multiplier": 2}],
                ["res_x", {"num_layers": 2}], ["compress_all", {"residual": residual, "multiplier": 2}],
                ["res_x", {"num_layers": 1}],
            ],
            "norm_layer": "pixel_norm", "patch_size": 4, "latent_log_var": "uniform", "causal_decoder": false,
            "decoder_spatial_padding_mode": border, "timestep_conditioning": false,
        });
        json!({"transformer": {"num_layers": 48}, "vae": vae}).to_string()
    };
    let with = |config: String| {
        let folder = alone(row, Some(HashMap::from([("config".to_owned(), config)])), "vae.");
        let vae = opened(&file(&folder, row), None).expect("the file opens");
        (results(&vae), vae.account().join("; "), vae.model().fields())
    };
    let (same, account, _) = with(config("reflect", true));
    assert!(same == results(&own), "{account}");
    assert!(account.contains("by its metadata and by the names and shapes of its tensors"), "{account}");
    let (other, _, fields) = with(config("zeros", false));
    let field = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| field_text(value));
    assert_eq!(field("decoder_spatial_padding_mode").as_deref(), Some("zeros"));
    assert_eq!(field("upsample_residual").as_deref(), Some("[false, false]"));
    assert!(other[0] != same[0] && other[1] == same[1]);
    // What is no configuration, or that of something else, is passed over.
    for config in ["", "[]", r#"{"vae": 1}"#, r#"{"_class_name": "VQModel"}"#, r#"{"patch_size": "four"}"#] {
        let (found, account, _) = with(config.to_owned());
        assert!(found == same, "{config}: {account}");
        assert!(!account.contains("metadata"), "{account}");
    }
}

/// A whole configuration in the metadata, in diffusers' fields.
#[test]
fn a_whole_configuration_in_a_files_metadata_tells_all() {
    let row = &ROWS[2];
    let golden = goldens().join("models").join(row.0);
    let config = fs::read_to_string(golden.join("config.json")).expect("the configuration");
    let folder = alone(row, Some(HashMap::from([("config".to_owned(), config)])), "first_stage_model.");
    let vae = opened(&file(&folder, row), None).expect("the file opens");
    let own = Vae::open(&golden).expect("the checkpoint opens");
    assert_eq!(vae.model().fields(), own.model().fields());
    assert!(results(&vae) == results(&own));
}

#[test]
fn a_configuration_that_contradicts_the_tensors_is_no_help() {
    let row = &ROWS[2];
    let folder = alone(row, None, "");
    let config = folder.path().join("said.json");
    // Not this model's; of a wrong type; without a divisor.
    for fields in [
        r#"{"_class_name": "AutoencoderKLMochi", "norm_num_groups": 5}"#,
        r#"{"norm_num_groups": "five"}"#,
        r#"{"norm_num_groups": 3}"#,
    ] {
        fs::write(&config, fields).expect("a file");
        match opened(&file(&folder, row), Some(&config)) {
            Ok(vae) => assert!(vae.check_weights(Half::Decoder).is_err(), "{fields}"),
            Err(error) => assert!(error.to_string().contains("norm_num_groups"), "{fields}: {error}"),
        }
    }
    // The class by its name, where tensors would do for it.
    fs::write(&config, r#"{"_class_name": "AutoencoderKL", "norm_num_groups": 5}"#).expect("a file");
    let vae = opened(&file(&folder, row), Some(&config)).expect("the file opens");
    assert!(vae.account()[0].starts_with("its configuration tells `norm_num_groups` alone"), "{:?}", vae.account());
}
