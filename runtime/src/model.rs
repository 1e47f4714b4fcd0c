//! What a person names as a model, and the files that it comes to: a folder, a weights file, or an id on the hub.
//!
//! Where the VAE's files are in a folder or a repository, and which are taken if there are several, is decided here. Reads
//! neither config.json nor the weights; fetching is in [`crate::hub`].
//!
//! Weights are, in this order of preference: one file; an index of shards; and only where the repository has no full set, a
//! variant in half precision, f16 before bf16 (it has more digits, and these weights are far from its limits). PyTorch's own
//! files come after all safetensors. What a file that is named itself holds, its content says and not its ending.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fragment::split_fragment;
use crate::hub::{self, HubId, HubOptions, OnDownload};
use crate::shard_index::ShardIndex;

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

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// config.json.
    pub config: PathBuf,
    /// The weights.
    pub weights: WeightFiles,
}

impl ModelFiles {
    /// Every file of them: the configuration, then those of the weights, an index included.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.config.clone()];
        match &self.weights {
            WeightFiles::One(path) => paths.push(path.clone()),
            WeightFiles::Shards(index) => {
                paths.push(index.path().to_owned());
                paths.extend(index.shard_names().into_iter().map(|name| index.shard_path(name)));
            }
        }
        paths
    }
}

/// Where a model's weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// One file.
    One(PathBuf),
    /// Several, with an index.
    Shards(ShardIndex),
}

/// A model as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Where it is.
    pub source: ModelSource,
    /// A configuration to use in place of the one beside the weights.
    pub config: Option<PathBuf>,
    /// What the names of its weights begin with, where files hold several models; see [`crate::Vae::open_prefixed`].
    pub prefix: Option<String>,
}

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder, or a weights file.
    Path(PathBuf),
    /// A repository on the hub.
    Hub(HubId),
}

impl ModelSpec {
    /// Takes `model` for a path if there is one of this name, else for a hub id `owner/name[@revision]`; `#PREFIX` behind either
    /// says what the names of its weights begin with.
    ///
    /// # Errors
    /// [`Error::NoModel`] if it is neither, with why.
    pub fn parse(model: impl AsRef<Path>, config: Option<&Path>) -> Result<ModelSpec> {
        let (path, prefix) = split_fragment(model.as_ref());
        let spec = |source| ModelSpec { source, config: config.map(Path::to_owned), prefix: prefix.clone() };
        if path.exists() {
            return Ok(spec(ModelSource::Path(path)));
        }
        // What is not Unicode is no id; the replaced characters are refused.
        let text = &*path.to_string_lossy();
        let looks_like_file = WEIGHTS_ENDINGS.iter().any(|ending| text.ends_with(ending));
        let id = if looks_like_file { Err("it ends as a file's name does".into()) } else { HubId::parse(text) };
        match id {
            Ok(id) => Ok(spec(ModelSource::Hub(id))),
            Err(reason) => {
                let problem = format!("there is no such file or folder; nor is it an id on the hub: {reason}");
                Err(Error::NoModel { path: path.clone(), problem })
            }
        }
    }
}

/// Finds the files of a model, fetching from the hub what is not in the cache; `progress` is told how far a file has come.
///
/// # Errors
/// Those of [`locate`] for a path; for a hub id [`Error::Hub`] with what was missing or went wrong and what to do,
/// [`Error::ShardIndex`], and [`Error::Interrupted`] when `progress` breaks.
pub fn resolve(spec: &ModelSpec, hub: &HubOptions, progress: &mut OnDownload<'_>) -> Result<ModelFiles> {
    match &spec.source {
        ModelSource::Path(path) => locate(path, spec.config.as_deref()),
        ModelSource::Hub(id) => {
            check_config(spec.config.as_deref())?;
            hub::fetch(id, spec.config.as_deref(), hub, progress)
        }
    }
}

/// Finds the configuration of a model, with or without weights beside it; fetches it from the hub if it is not in the cache.
///
/// # Errors
/// As [`resolve`], but for weights.
pub fn resolve_config(spec: &ModelSpec, hub: &HubOptions, progress: &mut OnDownload<'_>) -> Result<PathBuf> {
    check_config(spec.config.as_deref())?;
    match (&spec.config, &spec.source) {
        (Some(config), _) => Ok(config.clone()),
        (None, ModelSource::Path(path)) => locate_config(path),
        (None, ModelSource::Hub(id)) => hub::fetch_config(id, hub, progress),
    }
}

/// Finds the VAE in `model`: a folder with config.json and the weights, a pipeline's folder with such a folder `vae`, a
/// repository's folder in the hub's cache, a weights file, or an index of shards. `config` takes the place of the config.json beside the weights.
///
/// # Errors
/// [`Error::NoModel`] with what was looked for; [`files::Error::MissingFile`] if `config` is not there; those of
/// [`ShardIndex::read`].
pub fn locate(model: &Path, config: Option<&Path>) -> Result<ModelFiles> {
    check_config(config)?;
    let Place { folder, weights } = search(model)?;
    let config = config.map_or_else(|| folder.join(CONFIG_FILE), Path::to_owned);
    match weights {
        Some(Found { path, is_index }) if config.is_file() => {
            let weights = if is_index { WeightFiles::Shards(ShardIndex::read(&path)?) } else { WeightFiles::One(path) };
            Ok(ModelFiles { config, weights })
        }
        weights => {
            let weights = weights.is_none().then(|| folder.join(WEIGHTS_FILE));
            let missing = [Some(config).filter(|config| !config.is_file()), weights];
            Err(not_found(model, missing.iter().flatten()))
        }
    }
}

/// The configuration file in `model`, as [`locate`] finds it but with or without weights beside it.
///
/// # Errors
/// [`Error::NoModel`] with what was looked for.
pub fn locate_config(model: &Path) -> Result<PathBuf> {
    let config = search(model)?.folder.join(CONFIG_FILE);
    if config.is_file() { Ok(config) } else { Err(not_found(model, [&config])) }
}

/// Where a model is on disk, complete or not.
struct Place {
    folder: PathBuf,
    weights: Option<Found>,
}

/// Weights that are there.
struct Found {
    path: PathBuf,
    is_index: bool,
}

/// The folder and the weights that `model` stands for.
fn search(model: &Path) -> Result<Place> {
    let no_model = |problem: String| Err(Error::NoModel { path: model.into(), problem });
    if model.is_dir() {
        let of_cache = hub::model_folder(model).map_err(|problem| Error::NoModel { path: model.into(), problem })?;
        let model = of_cache.as_deref().unwrap_or(model);
        let nested = model.join(VAE_FOLDER);
        let weights = find_weights(model);
        // A pipeline may have a config.json of its own: what decides is where the weights are.
        return Ok(if weights.is_none() && nested.is_dir() {
            Place { weights: find_weights(&nested), folder: nested }
        } else {
            Place { weights, folder: model.into() }
        });
    }
    if !model.exists() {
        return no_model("there is no such file or folder".into());
    }
    let name = model.to_string_lossy();
    let is_index = name.ends_with(JSON_ENDING) && INDEX_MIDDLES.iter().any(|middle| name.contains(middle));
    if !is_index && name.ends_with(JSON_ENDING) {
        return no_model("expected a folder, a file of weights, or an index of shards, `*.index.json`".into());
    }
    let folder = model.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Place { folder, weights: Some(Found { path: model.into(), is_index }) })
}

fn find_weights(folder: &Path) -> Option<Found> {
    WEIGHTS_CANDIDATES
        .iter()
        .map(|candidate| Found { path: folder.join(candidate.file), is_index: candidate.is_index })
        .find(|found| found.path.is_file())
}

fn check_config(config: Option<&Path>) -> Result<()> {
    match config {
        Some(path) if !path.is_file() => Err(files::Error::MissingFile {
            path: path.into(),
            hint: format!("expected the model's {CONFIG_FILE}, under whatever name"),
        }
        .into()),
        _ => Ok(()),
    }
}

fn not_found<'a>(model: &Path, missing: impl IntoIterator<Item = &'a PathBuf>) -> Error {
    let missing: Vec<_> = missing.into_iter().map(|path| path.display().to_string()).collect();
    let missing = missing.join(", ");
    let problem = if model.is_dir() {
        format!(
            "looked for {CONFIG_FILE} and {WEIGHTS_FILE} (or .bin), whole or in shards, in the folder itself and in \
             `{VAE_FOLDER}/`; missing: {missing}"
        )
    } else {
        format!("its configuration is not beside it: {missing}; put it there, or name the file that is to be used")
    };
    Error::NoModel { path: model.into(), problem }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_model_is_located_or_the_search_explained() {
        let root = tempfile::tempdir().unwrap();
        let complaint = |path: &Path| locate(path, None).unwrap_err().to_string();
        assert!(complaint(&root.path().join("nowhere")).contains("no such file or folder"));
        assert!(complaint(root.path()).contains("in the folder itself and in `vae/`"));
        let vae = root.path().join("vae");
        fs::create_dir(&vae).unwrap();
        fs::write(root.path().join(CONFIG_FILE), "{}").unwrap();
        fs::write(vae.join(CONFIG_FILE), "{}").unwrap();
        let message = complaint(root.path());
        assert!(message.contains(&vae.join(WEIGHTS_FILE).display().to_string()), "{message}");
        assert_eq!(locate_config(root.path()).unwrap(), vae.join(CONFIG_FILE));
        fs::write(vae.join(WEIGHTS_FILE), "").unwrap();
        let found = ModelFiles { config: vae.join(CONFIG_FILE), weights: WeightFiles::One(vae.join(WEIGHTS_FILE)) };
        assert_eq!(locate(root.path(), None).unwrap(), found);
        assert_eq!(locate(&vae, None).unwrap(), found);
        assert!(complaint(&found.config).contains("expected a folder, a file of weights"));
    }

    #[test]
    fn a_single_file_takes_the_configuration_beside_it_or_the_one_named() {
        let root = tempfile::tempdir().unwrap();
        let (file, other) = (root.path().join("mine.safetensors"), root.path().join("other.json"));
        fs::write(&file, "").unwrap();
        let message = locate(&file, None).unwrap_err().to_string();
        assert!(message.contains("its configuration is not beside it") && message.contains(CONFIG_FILE), "{message}");
        assert!(locate(&file, Some(&other)).unwrap_err().to_string().contains("no such file; expected the model's"));
        fs::write(&other, "{}").unwrap();
        assert_eq!(locate(&file, Some(&other)).unwrap().config, other);
        fs::write(root.path().join(CONFIG_FILE), "{}").unwrap();
        let expected = ModelFiles { config: root.path().join(CONFIG_FILE), weights: WeightFiles::One(file.clone()) };
        assert_eq!(locate(&file, None).unwrap(), expected);
    }

    #[test]
    fn whole_weights_come_before_shards_before_half_precision() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(CONFIG_FILE), "{}").unwrap();
        for candidate in WEIGHTS_CANDIDATES.iter().rev() {
            let index = r#"{"weight_map": {"t": "a.safetensors"}}"#;
            let path = root.path().join(candidate.file);
            fs::write(&path, if candidate.is_index { index } else { "" }).unwrap();
            match locate(root.path(), None).unwrap().weights {
                WeightFiles::One(found) => assert!(found == path && !candidate.is_index),
                WeightFiles::Shards(found) => assert!(found.path() == path && candidate.is_index),
            }
        }
    }

    #[test]
    fn a_name_is_a_path_or_a_hub_id_or_both_refusals_are_told() {
        let root = tempfile::tempdir().unwrap();
        let text = root.path().to_str().unwrap();
        assert_eq!(ModelSpec::parse(text, None).unwrap().source, ModelSource::Path(root.path().into()));
        let hub = |text: &str| match ModelSpec::parse(text, None).unwrap().source {
            ModelSource::Hub(id) => (id.repository().to_owned(), id.revision().to_owned()),
            ModelSource::Path(path) => panic!("{}", path.display()),
        };
        assert_eq!(hub("owner/Name-2b"), ("owner/Name-2b".into(), "main".into()));
        assert_eq!(hub("owner/name@refs/pr/1"), ("owner/name".into(), "refs/pr/1".into()));
        assert_eq!(hub("owner/name@v1#ema"), ("owner/name".into(), "v1".into()));
        let named = ModelSpec::parse(format!("{text}#ema.model"), None).unwrap();
        assert_eq!((named.source, named.prefix.as_deref()), (ModelSource::Path(text.into()), Some("ema.model")));
        for text in [
            "",
            "name",
            "a/b/c",
            "/a/b",
            "./a",
            "../a",
            "~/a",
            "a\\b/c",
            "C:/a",
            "a/b@",
            "a/b@../../x",
            "a/b@.x",
            "a/b@x y",
            "a/b@x\\y",
            "a--b/c",
            "a/b.safetensors",
            "a/b.ckpt",
            "a/b.bin",
            "a b/c",
        ] {
            let message = ModelSpec::parse(text, None).unwrap_err().to_string();
            assert!(message.contains("no such file or folder; nor is it an id on the hub"), "{text}: {message}");
        }
    }
}
