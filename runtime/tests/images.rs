//! A model of images: tensors of four axes in and out, pictures, and clips refused.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Tensor, entries, latents_file, printed, random, refused, tensors_of, tessera, text, write};
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;
use tessera::tensor_file::TensorFile;

/// Two levels: twice the height and width of the latents.
const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKL",
  "block_out_channels": [8, 16],
  "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
  "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
  "latent_channels": 4,
  "norm_num_groups": 4,
  "sample_size": 16,
  "scaling_factor": 0.5,
  "shift_factor": 0.25
}"#;

const DECODE: [&str; 6] = ["decode", "--model", ".", "--latents", "z.safetensors", "--quiet"];
const ENCODE: [&str; 4] = ["encode", "--model", ".", "--quiet"];

/// A folder with the model and `z.safetensors`, latents of this shape.
fn workplace(latents: &[usize]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = frontend::read_config(CONFIG).unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    write(&folder.path().join("diffusion_pytorch_model.safetensors"), &tensors_of(&*model));
    latents_file(folder.path(), "z.safetensors", latents, &random(5, latents.iter().product()));
    folder
}

/// The shape and the values of the only tensor of a file.
fn tensor(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let file = TensorFile::open(path, "a tensor").unwrap();
    let [name] = &file.names()[..] else { panic!("{:?}", file.names()) };
    (file.shape(name).unwrap().to_vec(), file.to_f32(name).unwrap())
}

#[test]
fn an_image_is_decoded_to_a_picture() {
    let folder = workplace(&[1, 4, 3, 5]);
    let path = folder.path();
    let told: Value = serde_json::from_str(&printed(&[&DECODE[..], &["--json"]].concat(), path)).unwrap();
    assert_eq!(told["output"], json!("decoded.png"));
    assert_eq!(told["latents"], json!({"layout": "bchw", "guessed": false}));
    assert_eq!((&told["frames"], &told["height"], &told["width"]), (&json!(1), &json!(6), &json!(10)));
    assert!(fs::read(path.join("decoded.png")).unwrap().starts_with(b"\x89PNG"));
    let said = printed(&DECODE[..5], path);
    assert!(said.contains("[1, 4, 3, 5] [B, C, H, W]"), "{said}");

    // The same image in five axes.
    for (output, shape) in
        [("four.npy", &[1, 4, 3, 5][..]), ("five.npy", &[1, 4, 1, 3, 5]), ("tchw.npy", &[1, 1, 4, 3, 5])]
    {
        latents_file(path, "z.safetensors", shape, &random(5, 60));
        printed(&[&DECODE[..], &["--output", output]].concat(), path);
        assert_eq!(fs::read(path.join(output)).unwrap(), fs::read(path.join("four.npy")).unwrap(), "{output}");
    }
    assert_eq!(tensor(&path.join("four.npy")).0, [1, 3, 6, 10]);
}

#[test]
fn a_batch_of_images_is_a_picture_each_or_one_array() {
    let folder = workplace(&[3, 4, 2, 2]);
    let path = folder.path();
    printed(&[&DECODE[..], &["--output", "out.png"]].concat(), path);
    printed(&[&DECODE[..], &["--output", "out.safetensors"]].concat(), path);
    let made: Vec<String> = entries(path).into_iter().filter(|name| name.starts_with("out")).collect();
    assert_eq!(made, ["out-0.png", "out-1.png", "out-2.png", "out.safetensors"]);
    let (shape, all) = tensor(&path.join("out.safetensors"));
    assert_eq!(shape, [3, 3, 4, 4]);
    // The second of them alone, with threads of its own.
    let latents = random(5, 48);
    latents_file(path, "z.safetensors", &[1, 4, 2, 2], &latents[16..32]);
    printed(&[&DECODE[..], &["--output", "second.safetensors"]].concat(), path);
    assert_eq!(tensor(&path.join("second.safetensors")).1, all[48..96]);
}

#[test]
fn a_picture_is_encoded_to_four_axes_and_comes_back() {
    let folder = workplace(&[1, 4, 4, 5]);
    let path = folder.path();
    printed(&DECODE[..], path);
    let encode = |more: &[&str]| printed(&[&ENCODE[..], &["--video", "decoded.png"], more].concat(), path);
    let told: Value = serde_json::from_str(&encode(&["--output", "scaled.safetensors", "--json"])).unwrap();
    assert_eq!(told["shape"], json!([1, 4, 4, 5]));
    encode(&["--output", "unscaled.safetensors", "--unscaled"]);
    encode(&["--output", "moments.safetensors", "--moments"]);
    let [scaled, unscaled, moments] =
        ["scaled", "unscaled", "moments"].map(|name| tensor(&path.join(format!("{name}.safetensors"))));
    assert_eq!(
        (&scaled.0[..], &unscaled.0[..], &moments.0[..]),
        (&[1, 4, 4, 5][..], &[1, 4, 4, 5][..], &[1, 8, 4, 5][..])
    );
    assert_eq!(unscaled.1, moments.1[..80]);
    for (scaled, unscaled) in scaled.1.iter().zip(&unscaled.1) {
        assert!((scaled - (unscaled - 0.25) * 0.5).abs() < 1e-6, "{scaled} of {unscaled}");
    }
    // All of them say what they are, and decode to one image.
    let images: Vec<PathBuf> = ["scaled", "unscaled", "moments"]
        .map(|name| {
            let output = format!("{name}.npy");
            let latents = format!("{name}.safetensors");
            printed_with_notes(
                &["decode", "--model", ".", "--latents", &latents, "--output", &output, "--quiet"],
                path,
            );
            path.join(output)
        })
        .into();
    let [scaled, unscaled, moments] = [0, 1, 2].map(|i| tensor(&images[i]));
    assert_eq!((&unscaled, &scaled.0), (&moments, &unscaled.0));
    assert!(scaled.1.iter().zip(&unscaled.1).all(|(a, b)| (a - b).abs() < 1e-4));
}

/// What a command prints that must succeed.
fn printed_with_notes(arguments: &[&str], folder: &Path) -> String {
    let output = tessera(arguments, folder);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// A folder with a model whose checkpoint holds mean and variance of its latents, in patches, and
/// these tensors of it: `bn.running_mean` counts up from 0, `bn.running_var` is 3.
fn workplace_with_statistics(with_statistics: bool) -> TempDir {
    let config = r#"{
      "_class_name": "AutoencoderKLFlux2", "block_out_channels": [8, 16], "latent_channels": 4, "norm_num_groups": 4,
      "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
      "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"], "batch_norm_eps": 1
    }"#;
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = frontend::read_config(config).unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    let mut tensors = tensors_of(&*model);
    if with_statistics {
        let of = |name: &str, value: fn(u8) -> f32| Tensor {
            name: format!("bn.{name}"),
            shape: vec![16],
            dtype: Dtype::F32,
            bytes: (0..16).flat_map(|i| value(i).to_le_bytes()).collect(),
        };
        tensors.extend([of("running_mean", f32::from), of("running_var", |_| 3.0)]);
    }
    write(&folder.path().join("diffusion_pytorch_model.safetensors"), &tensors);
    folder
}

#[test]
fn latents_are_scaled_by_numbers_of_the_checkpoint_and_kept_in_patches() {
    let folder = workplace_with_statistics(true);
    let path = folder.path();
    // Patches of 2x2: [1, 4 * 2 * 2, 2, 3] is [1, 4, 4, 6].
    latents_file(path, "z.safetensors", &[1, 16, 2, 3], &random(5, 96));
    printed(&[&DECODE[..], &["--output", "patched.npy"]].concat(), path);
    assert_eq!(tensor(&path.join("patched.npy")).0, [1, 3, 8, 12]);
    let patched = tensor(&path.join("z.safetensors")).1;
    let value = |c: usize, y: usize, x: usize| {
        let place = (c * 2 + y % 2) * 2 + x % 2;
        patched[(place * 2 + y / 2) * 3 + x / 2] * 2.0 + place as f32
    };
    let unscaled: Vec<f32> = (0..96).map(|i| value(i / 24, i / 6 % 4, i % 6)).collect();
    latents_file(path, "z.safetensors", &[1, 4, 4, 6], &unscaled);
    printed(&[&DECODE[..], &["--unscaled", "--output", "plain.npy"]].concat(), path);
    assert_eq!(tensor(&path.join("plain.npy")), tensor(&path.join("patched.npy")));

    // The same patches in a row, as the transformer has them.
    let in_a_row: Vec<f32> = (0..96).map(|i| patched[i % 16 * 6 + i / 16]).collect();
    latents_file(path, "row.safetensors", &[1, 6, 16], &in_a_row);
    let row = ["decode", "--model", ".", "--latents", "row.safetensors", "--quiet", "--output", "row.npy"];
    refused(path, &row, &["6 patches of 2x2 in a row, which are no square", "--latents-size HxW, in pixels"]);
    printed(&[&row[..], &["--latents-size", "8x12"]].concat(), path);
    assert_eq!(tensor(&path.join("row.npy")), tensor(&path.join("patched.npy")));

    // What is encoded is kept in patches, and comes back.
    printed(&[&DECODE[..], &["--unscaled"]].concat(), path);
    let encode = |more: &[&str]| printed(&[&ENCODE[..], &["--video", "decoded.png"], more].concat(), path);
    let told: Value = serde_json::from_str(&encode(&["--output", "scaled.safetensors", "--json"])).unwrap();
    assert_eq!(told["shape"], json!([1, 16, 2, 3]));
    encode(&["--output", "unscaled.safetensors", "--unscaled"]);
    let [scaled, unscaled] = ["scaled", "unscaled"].map(|name| tensor(&path.join(format!("{name}.safetensors"))));
    assert_eq!((&scaled.0[..], &unscaled.0[..]), (&[1, 16, 2, 3][..], &[1, 4, 4, 6][..]));
    // The last place of the patch in the second row and the third column.
    assert!((scaled.1[3 * 6 + 3 + 2] - (unscaled.1[3 * 6 + 5] - 3.0) / 2.0).abs() < 1e-6);
    for name in ["scaled", "unscaled"] {
        let (latents, output) = (format!("{name}.safetensors"), format!("{name}.npy"));
        printed(&["decode", "--model", ".", "--latents", &latents, "--output", &output, "--quiet"], path);
    }
    let [scaled, unscaled] = ["scaled", "unscaled"].map(|name| tensor(&path.join(format!("{name}.npy"))).1);
    assert!(scaled.iter().zip(&unscaled).all(|(a, b)| (a - b).abs() < 1e-4));

    // Patches must be whole.
    latents_file(path, "odd.safetensors", &[1, 3, 6, 8], &random(3, 144));
    let odd = [&ENCODE[..], &["--video", "odd.safetensors", "--output", "odd-latents.safetensors"]].concat();
    refused(path, &odd, &["in patches of 2x2, into which 4x3 (width x height) do not fall"]);
    printed(&[&odd[..], &["--unscaled"]].concat(), path);
}

#[test]
fn a_checkpoint_without_the_numbers_will_do_for_unscaled_latents() {
    let folder = workplace_with_statistics(false);
    let path = folder.path();
    latents_file(path, "z.safetensors", &[1, 4, 4, 6], &random(5, 96));
    refused(path, &DECODE, &["not the latent scaling that config.json describes: none of its 2 tensors is there"]);
    printed(&[&DECODE[..], &["--unscaled"]].concat(), path);
}

#[test]
fn a_transparent_model_makes_transparent_pictures_and_takes_others_as_opaque() {
    let config = r#"{
      "_class_name": "AutoencoderKLQwenImage21", "base_dim": 4, "decoder_base_dim": 4, "z_dim": 2, "dim_mult": [1, 1],
      "num_res_blocks": 1, "temperal_downsample": [false], "latents_mean": [0, 0], "latents_std": [1, 1]
    }"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (model, _) = frontend::read_config(config).unwrap();
    fs::write(path.join("config.json"), config).unwrap();
    write(&path.join("diffusion_pytorch_model.safetensors"), &tensors_of(&*model));
    latents_file(path, "z.safetensors", &[1, 2, 3, 4], &random(5, 24));
    for output in ["a.png", "a.webp", "a.npy"] {
        printed(&[&DECODE[..], &["--output", output]].concat(), path);
    }
    assert_eq!(tensor(&path.join("a.npy")).0, [1, 4, 6, 8]);
    let jpeg = [&DECODE[..], &["--output", "a.jpg"]].concat();
    refused(path, &jpeg, &["4 channels (RGB and transparency), and the format has none; write .png or .webp"]);

    let encoded = |video: &str, output: &str| {
        let arguments = ["encode", "--model", ".", "--video", video, "--output", output, "--unscaled"];
        let run = tessera(&arguments, path);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        (text(&run.stderr), tensor(&path.join(output)).1)
    };
    // Pictures have no transparency here; an array with it says the same as one without that is opaque.
    let (notes, _) = encoded("a.png", "picture.safetensors");
    assert!(notes.contains("every pixel is taken as opaque"), "{notes}");
    latents_file(path, "rgb.safetensors", &[1, 3, 1, 6, 8], &random(9, 144));
    let (notes, of_rgb) = encoded("rgb.safetensors", "of-rgb.safetensors");
    assert!(notes.contains("every pixel is taken as opaque"), "{notes}");
    assert_eq!(of_rgb.len(), 24);
}

#[test]
fn a_picture_is_a_jpeg_or_a_webp_where_its_name_says_so() {
    let folder = workplace(&[2, 4, 3, 5]);
    let path = folder.path();
    for (output, magic) in [("a.jpg", &b"\xff\xd8\xff"[..]), ("a.webp", b"RIFF")] {
        printed(&[&DECODE[..], &["--output", output]].concat(), path);
        for sample in 0..2 {
            let name = output.replace('.', &format!("-{sample}."));
            assert!(fs::read(path.join(&name)).unwrap().starts_with(magic), "{name}");
            printed(&[&ENCODE[..], &["--video", &name, "--output", "back.safetensors"]].concat(), path);
            assert_eq!(tensor(&path.join("back.safetensors")).0, [1, 4, 3, 5]);
        }
    }
}

#[test]
fn encoders_without_a_variance_give_latents_alone() {
    let config = r#"{
      "_class_name": "AutoencoderTiny", "encoder_block_out_channels": [4, 4], "decoder_block_out_channels": [4, 4],
      "num_encoder_blocks": [1, 1], "num_decoder_blocks": [1, 1]
    }"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (model, _) = frontend::read_config(config).unwrap();
    fs::write(path.join("config.json"), config).unwrap();
    write(&path.join("diffusion_pytorch_model.safetensors"), &tensors_of(&*model));
    latents_file(path, "clip.safetensors", &[1, 3, 1, 6, 8], &random(3, 144));
    let encode = [&ENCODE[..], &["--video", "clip.safetensors", "--output", "z.safetensors"]].concat();
    printed(&encode, path);
    assert_eq!(tensor(&path.join("z.safetensors")).0, [1, 4, 3, 4]);
    printed(&DECODE, path);
    let refusal = "the model's encoder gives latents without a variance: there is nothing to draw";
    refused(path, &[&encode[..], &["--sample"]].concat(), &[refusal]);
    let refusal = "the model's encoder gives latents without a variance: there are no moments, only latents";
    refused(path, &[&encode[..], &["--moments"]].concat(), &[refusal]);
    latents_file(path, "clip.safetensors", &[1, 3, 1, 7, 8], &random(3, 168));
    refused(path, &encode, &["its frames are 8x7 (width x height); the model takes multiples of 2 alone"]);
}

#[test]
fn more_than_one_frame_is_refused() {
    let folder = workplace(&[1, 4, 2, 3, 5]);
    let path = folder.path();
    let decode = &[&DECODE[..], &["--latents-layout", "bcthw"]].concat();
    let expected = "AutoencoderKL is a model of images, which are one frame each, and these are 2";
    refused(path, decode, &["latents", expected]);
    let clip: Vec<f32> = random(3, 3 * 2 * 4 * 4);
    latents_file(path, "clip.safetensors", &[1, 3, 2, 4, 4], &clip);
    refused(path, &[&ENCODE[..], &["--video", "clip.safetensors"]].concat(), &["clip", expected]);
    printed(&[&ENCODE[..], &["--video", "clip.safetensors", "--frames", "1"]].concat(), path);
    latents_file(path, "z.safetensors", &[1, 3, 2, 2], &random(3, 12));
    refused(path, &DECODE, &["in layout bchw axis 1 is the channels and should be 4, not 3"]);
}

/// A case of the reference, its activations too, as it lies there.
#[test]
fn the_references_activations_are_verified() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/models/autoencoder-kl");
    let model = golden.to_str().unwrap();
    for case in ["decode-image-taps", "encode-image-taps"] {
        let case = golden.join(format!("cases/{case}.safetensors"));
        let against = case.to_str().unwrap();
        let told = printed(&["verify", "--model", model, "--against", against, "--json"], &golden);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["passed"], json!(true));
        let rows = told["rows"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["module"].as_str().unwrap().ends_with("mid_block.attentions.0.to_q")));
    }
}
