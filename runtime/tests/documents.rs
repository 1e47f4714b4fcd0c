//! The commands that the documents show: each is run as it stands there, in a folder that has what
//! it names.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{latents_file, random, tensors_of, write};

/// A small model of images, as tensors alone tell it.
const IMAGES: &str = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [32, 32], "latent_channels": 16,
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;

/// Lines of the shell blocks of a document that call `tessera`, without continuation lines or
/// comments.
fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = language == "sh";
        } else if inside && let Some(arguments) = line.trim().strip_prefix("tessera ") {
            found.push(arguments.split(" #").next().unwrap_or(arguments).trim().to_owned());
        }
    }
    found
}

/// A folder with the models and the latents that the README's examples name: the demo's, of one
/// latent frame, and a file of weights alone.
fn workplace(folder: &Path) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let model = folder.join("CogVideoX-2b");
    fs::create_dir(&model).expect("a new folder");
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        fs::copy(demo.join(file), model.join(file)).expect("the demo is whole");
    }
    let values = vec![0_u8; 4 * 16 * 4 * 6];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, 1, 16, 4, 6], &values);
    let tensors = [("latents", view.expect("as many bytes as the shape says"))];
    safetensors::serialize_to_file(tensors, None, &folder.join("latents.safetensors")).expect("it writes");
    let (images, _) = frontend::read_config(IMAGES).expect("a configuration");
    write(&folder.join("ae.safetensors"), &tensors_of(&*images));
    latents_file(folder, "image-latents.safetensors", &[1, 16, 4, 6], &random(5, 16 * 4 * 6));
}

#[test]
fn commands_of_the_readme_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    workplace(folder.path());
    let commands = commands(include_str!("../../README.md"));
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let run = Command::new(env!("CARGO_BIN_EXE_tessera"))
            .args(command.split_whitespace())
            .current_dir(folder.path())
            .output()
            .expect("the binary starts");
        assert!(run.status.success(), "tessera {command}: {}", String::from_utf8_lossy(&run.stderr));
    }
    for output in ["clip.mp4", "image.png"] {
        assert!(folder.path().join(output).metadata().expect("the example's output").len() > 0, "{output}");
    }
}
