//! How the files of a model are called, and in which order names are looked for, on disk as on the
//! hub.
//!
//! Weights are, in this order of preference: one file; an index of shards; and only where there is
//! no full set, a variant in half precision, f16 before bf16 (it has more digits, and these weights
//! are far from its limits). PyTorch's own files come after all safetensors.

/// The file that holds the model's configuration.
pub const CONFIG_FILE: &str = "config.json";
/// The file that holds the model's weights, if they are in one.
pub const WEIGHTS_FILE: &str = "diffusion_pytorch_model.safetensors";
/// The folder of a pipeline that holds the VAE.
pub(crate) const VAE_FOLDER: &str = "vae";
/// How the names of weights files end.
const WEIGHTS_ENDINGS: [&str; 7] = [".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".json"];
/// How the names of indices of shards end; `.index.fp16.json` is one too.
const INDEX_MIDDLES: [&str; 2] = [".safetensors.index.", ".bin.index."];
/// How the name of a file ends that is configuration or index.
const JSON_ENDING: &str = ".json";

/// A name under which a folder may have its weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightsCandidate {
    pub(crate) file: &'static str,
    pub(crate) is_index: bool,
}

/// The names under which a folder may have its weights; the first that is there is taken.
pub(crate) const WEIGHTS_CANDIDATES: [WeightsCandidate; 9] = [
    WeightsCandidate { file: WEIGHTS_FILE, is_index: false },
    WeightsCandidate { file: "diffusion_pytorch_model.safetensors.index.json", is_index: true },
    WeightsCandidate { file: "diffusion_pytorch_model.fp16.safetensors", is_index: false },
    WeightsCandidate { file: "diffusion_pytorch_model.bf16.safetensors", is_index: false },
    WeightsCandidate { file: "diffusion_pytorch_model.bin", is_index: false },
    WeightsCandidate { file: "diffusion_pytorch_model.bin.index.json", is_index: true },
    WeightsCandidate { file: "diffusion_pytorch_model.fp16.bin", is_index: false },
    WeightsCandidate { file: "pytorch_model.bin", is_index: false },
    WeightsCandidate { file: "pytorch_model.bin.index.json", is_index: true },
];

/// Whether this ends as the name of a file of a model does.
pub(crate) fn ends_as_file(name: &str) -> bool {
    WEIGHTS_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether this ends as the name of a JSON file does.
pub(crate) fn is_json(name: &str) -> bool {
    name.ends_with(JSON_ENDING)
}

/// Whether this is the name of an index of shards.
pub(crate) fn is_index(name: &str) -> bool {
    is_json(name) && INDEX_MIDDLES.iter().any(|middle| name.contains(middle))
}
