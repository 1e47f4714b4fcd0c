//! A model on disk: where its files are, and its weights by name.
//!
//! Reads neither config.json's content nor any meaning of a weight's name; fetching a model is not done here either.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::tensor_file::{TensorFile, TensorView};

/// The file that holds the model's configuration.
pub const CONFIG_FILE: &str = "config.json";
/// The file that holds the model's weights.
pub const WEIGHTS_FILE: &str = "diffusion_pytorch_model.safetensors";
/// The folder of a pipeline that holds the VAE.
const VAE_FOLDER: &str = "vae";
/// What `torch.compile` puts in front of the names of a module it wraps.
const COMPILED_PREFIX: &str = "_orig_mod.";

/// The two files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// config.json.
    pub config: PathBuf,
    /// The weights, one safetensors file.
    pub weights: PathBuf,
}

/// Finds the VAE in `model`: a folder with config.json and the weights, or a pipeline's folder with such a folder `vae`.
///
/// # Errors
/// [`Error::NoModel`] with what was looked for.
pub fn locate(model: &Path) -> Result<ModelFiles> {
    let no_model = |problem: String| Error::NoModel { path: model.into(), problem };
    let folder = folder(model)?;
    let files = ModelFiles { config: folder.join(CONFIG_FILE), weights: folder.join(WEIGHTS_FILE) };
    let missing: Vec<String> = [&files.config, &files.weights]
        .into_iter()
        .filter(|file| !file.is_file())
        .map(|file| file.display().to_string())
        .collect();
    if missing.is_empty() {
        return Ok(files);
    }
    let sharded = folder.join(format!("{WEIGHTS_FILE}.index.json"));
    Err(no_model(if sharded.is_file() {
        format!("the weights are in several files ({}); merge them into one {WEIGHTS_FILE}", sharded.display())
    } else {
        format!(
            "looked for {CONFIG_FILE} and {WEIGHTS_FILE} in the folder itself and in `{VAE_FOLDER}/`; missing: {}",
            missing.join(", ")
        )
    }))
}

/// The configuration file in `model`, as [`locate`] finds it but with or without weights beside it.
///
/// # Errors
/// [`Error::NoModel`] with what was looked for.
pub fn locate_config(model: &Path) -> Result<PathBuf> {
    let config = folder(model)?.join(CONFIG_FILE);
    if config.is_file() {
        return Ok(config);
    }
    let problem = format!("looked for {CONFIG_FILE} in the folder itself and in `{VAE_FOLDER}/`");
    Err(Error::NoModel { path: model.into(), problem })
}

/// The folder with the VAE's files: `model`, or the folder `vae` in it.
fn folder(model: &Path) -> Result<PathBuf> {
    let no_model = |problem: String| Error::NoModel { path: model.into(), problem };
    if !model.exists() {
        return Err(no_model("there is no such folder".into()));
    }
    if !model.is_dir() {
        return Err(no_model(format!("it is a file; name the folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}")));
    }
    let nested = model.join(VAE_FOLDER);
    // A pipeline may have a config.json of its own: what decides is where the weights are.
    Ok(if !model.join(WEIGHTS_FILE).is_file() && nested.is_dir() { nested } else { model.to_path_buf() })
}

/// A model's weights, mapped and not copied. Names are those of the module tree: `_orig_mod.`, which `torch.compile`
/// leaves in front of any component, is taken away.
#[derive(Debug)]
pub struct Checkpoint {
    file: TensorFile,
    /// Name -> name as the file has it.
    names: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a weights file, or the one that [`locate`] finds in a folder.
    ///
    /// # Errors
    /// Those of [`locate`] and [`TensorFile::open`]; [`Error::DuplicateTensor`].
    pub fn open(folder_or_file: &Path) -> Result<Checkpoint> {
        let path = if folder_or_file.is_dir() { locate(folder_or_file)?.weights } else { folder_or_file.to_path_buf() };
        let hint = format!("expected a checkpoint such as {WEIGHTS_FILE}");
        Checkpoint::from_file(TensorFile::open(&path, &hint)?)
    }

    /// The weights in `file`.
    ///
    /// # Errors
    /// [`Error::DuplicateTensor`].
    pub fn from_file(file: TensorFile) -> Result<Checkpoint> {
        let mut names = BTreeMap::new();
        for second in file.names() {
            let name = strip_compiled(&second);
            if let Some(first) = names.insert(name.clone(), second.clone()) {
                return Err(Error::DuplicateTensor { path: file.path().into(), name, first, second });
            }
        }
        Ok(Checkpoint { file, names })
    }

    /// The weights file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The tensor of this name, without `_orig_mod.`.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.file.tensor(self.names.get(name)?)
    }

    /// The values of a tensor as f32, row-major; f32, f16, bf16 and f64 (rounded) are converted, on all threads.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::WrongDtype`].
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.file.to_f32(self.names.get(name).map_or(name, String::as_str))
    }

    /// The tensors with element types and shapes, for messages; see [`TensorFile::contents`].
    pub fn contents(&self) -> String {
        self.file.contents()
    }

    /// All tensors with their names, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TensorView<'_>)> {
        self.names.iter().filter_map(|(name, raw)| Some((name.as_str(), self.file.tensor(raw)?)))
    }
}

/// `_orig_mod.encoder._orig_mod.conv.weight` -> `encoder.conv.weight`; `x_orig_mod.weight` stays.
fn strip_compiled(name: &str) -> String {
    let whole_component = COMPILED_PREFIX.trim_end_matches('.');
    // The last component is the tensor itself and never a wrapper.
    match name.rsplit_once('.') {
        None => name.into(),
        Some((modules, tensor)) => modules
            .split('.')
            .filter(|component| *component != whole_component)
            .chain([tensor])
            .collect::<Vec<_>>()
            .join("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::Dtype;
    use safetensors::tensor::TensorView as Tensor;

    use super::*;

    /// A weights file with these tensors of one f32 each, the tensor's place in the list.
    fn write(path: &Path, names: &[&str]) {
        let values: Vec<[u8; 4]> = (0..names.len()).map(|i| (i as f32).to_le_bytes()).collect();
        let tensors = names.iter().zip(&values).map(|(n, v)| (*n, Tensor::new(Dtype::F32, vec![1], v).unwrap()));
        fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    }

    #[test]
    fn compiled_names_are_stripped_where_they_are_components() {
        assert_eq!(strip_compiled("_orig_mod.conv.weight"), "conv.weight");
        assert_eq!(strip_compiled("decoder._orig_mod.conv._orig_mod.bias"), "decoder.conv.bias");
        assert_eq!(strip_compiled("decoder.x_orig_mod.bias"), "decoder.x_orig_mod.bias");
        assert_eq!(strip_compiled("bias"), "bias");
    }

    #[test]
    fn tensors_are_found_by_stripped_name() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join(WEIGHTS_FILE), &["_orig_mod.b.weight", "a._orig_mod.weight"]);
        fs::write(folder.path().join(CONFIG_FILE), "{}").unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.len(), 2);
        assert_eq!(checkpoint.to_f32("b.weight").unwrap(), [0.0]);
        let all: Vec<_> = checkpoint.iter().map(|(name, view)| (name, view.dtype, view.shape)).collect();
        assert_eq!(all, [("a.weight", Dtype::F32, &[1][..]), ("b.weight", Dtype::F32, &[1][..])]);
        assert!(checkpoint.tensor("_orig_mod.b.weight").is_none());
        assert!(checkpoint.to_f32("c").unwrap_err().to_string().contains("no tensor `c`"));
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        write(&path, &["_orig_mod.b.weight", "b.weight"]);
        let message = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(message.contains("`_orig_mod.b.weight`") && message.contains("both become `b.weight`"), "{message}");
    }

    #[test]
    fn a_model_is_located_or_the_search_explained() {
        let root = tempfile::tempdir().unwrap();
        let complaint = |path: &Path| locate(path).unwrap_err().to_string();
        assert!(complaint(&root.path().join("nowhere")).contains("no such folder"));
        assert!(complaint(root.path()).contains("in the folder itself and in `vae/`"));
        let vae = root.path().join("vae");
        fs::create_dir(&vae).unwrap();
        fs::write(root.path().join(CONFIG_FILE), "{}").unwrap();
        fs::write(vae.join(CONFIG_FILE), "{}").unwrap();
        let message = complaint(root.path());
        assert!(message.contains(&vae.join(WEIGHTS_FILE).display().to_string()), "{message}");
        fs::write(vae.join(WEIGHTS_FILE), "").unwrap();
        let found = ModelFiles { config: vae.join(CONFIG_FILE), weights: vae.join(WEIGHTS_FILE) };
        assert_eq!(locate(root.path()).unwrap(), found);
        assert_eq!(locate(&vae).unwrap(), found);
        assert!(complaint(&found.config).contains("it is a file"));
        let missing = Checkpoint::open(&root.path().join("no.safetensors")).unwrap_err().to_string();
        assert!(missing.contains("no such file; expected a checkpoint"), "{missing}");
    }
}
