//! The commands that the documents show: each is run as it stands there, in a folder that has what
//! it names.

use std::fs;
use std::path::Path;
use std::process::Command;

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

/// A folder with the model and the latents that the README's example names: the demo's, of one
/// latent frame.
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
    assert!(folder.path().join("clip.mp4").metadata().expect("the example's output").len() > 0);
}
