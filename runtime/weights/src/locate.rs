//! Finding a model's files on disk: where the VAE is in a folder, and which of its files are taken.
//! Reads neither config.json nor the weights.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file_names::{CONFIG_FILE, VAE_FOLDER, WEIGHTS_CANDIDATES, WEIGHTS_FILE, is_index, is_json};
use crate::hub::snapshot_folder;
use crate::model_files::{ModelFiles, WeightFiles};
use crate::shard_index::ShardIndex;

/// Finds the VAE in `model`: a folder with config.json and the weights, a pipeline's folder with
/// such a folder `vae`, a repository's folder in the hub's cache, a weights file, or an index of
/// shards. `config` takes the place of the config.json beside the weights, which a file that is
/// named itself need not have.
///
/// # Errors
/// [`Error::NoModel`] with what was looked for; [`files::Error::MissingFile`] if `config` is not
/// there; those of [`ShardIndex::read`].
pub fn locate(model: &Path, config: Option<&Path>) -> Result<ModelFiles> {
    check_config(config)?;
    let ModelFolder { folder, weights } = search(model)?;
    let config = config.map_or_else(|| folder.join(CONFIG_FILE), Path::to_owned);
    match weights {
        Some(Found { path, is_index }) if config.is_file() || !model.is_dir() => {
            let weights = if is_index { WeightFiles::Shards(ShardIndex::read(&path)?) } else { WeightFiles::One(path) };
            Ok(ModelFiles { config: Some(config).filter(|config| config.is_file()), weights })
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
struct ModelFolder {
    folder: PathBuf,
    weights: Option<Found>,
}

/// Weights that are there.
struct Found {
    path: PathBuf,
    is_index: bool,
}

/// The folder and the weights that `model` stands for.
fn search(model: &Path) -> Result<ModelFolder> {
    let no_model = |problem: String| Err(Error::NoModel { path: model.into(), problem });
    if model.is_dir() {
        let of_cache = snapshot_folder(model).map_err(|problem| Error::NoModel { path: model.into(), problem })?;
        let model = of_cache.as_deref().unwrap_or(model);
        let nested = model.join(VAE_FOLDER);
        let weights = find_weights(model);
        // A pipeline may have a config.json of its own: what decides is where the weights are.
        return Ok(if weights.is_none() && nested.is_dir() {
            ModelFolder { weights: find_weights(&nested), folder: nested }
        } else {
            ModelFolder { weights, folder: model.into() }
        });
    }
    if !model.exists() {
        return no_model("there is no such file or folder".into());
    }
    let name = model.to_string_lossy();
    let is_index = is_index(&name);
    if !is_index && is_json(&name) {
        return no_model("expected a folder, a file of weights, or an index of shards, `*.index.json`".into());
    }
    let folder = model.parent().unwrap_or(Path::new("")).to_owned();
    Ok(ModelFolder { folder, weights: Some(Found { path: model.into(), is_index }) })
}

fn find_weights(folder: &Path) -> Option<Found> {
    WEIGHTS_CANDIDATES
        .iter()
        .map(|candidate| Found { path: folder.join(candidate.file), is_index: candidate.is_index })
        .find(|found| found.path.is_file())
}

/// Refuses a configuration that is named and is not there.
pub(crate) fn check_config(config: Option<&Path>) -> Result<()> {
    match config {
        Some(path) if !path.is_file() => Err(Error::Files(files::Error::MissingFile {
            path: path.into(),
            hint: format!("expected the model's {CONFIG_FILE}, under whatever name"),
        })),
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
        let found =
            ModelFiles { config: Some(vae.join(CONFIG_FILE)), weights: WeightFiles::One(vae.join(WEIGHTS_FILE)) };
        assert_eq!(locate(root.path(), None).unwrap(), found);
        assert_eq!(locate(&vae, None).unwrap(), found);
        assert!(complaint(&vae.join(CONFIG_FILE)).contains("expected a folder, a file of weights"));
    }

    #[test]
    fn a_repository_in_the_hubs_cache_is_a_model() {
        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("models--owner--name");
        let vae = repository.join("snapshots").join("0".repeat(40)).join(VAE_FOLDER);
        fs::create_dir_all(&vae).unwrap();
        fs::write(vae.join(CONFIG_FILE), "{}").unwrap();
        fs::write(vae.join(WEIGHTS_FILE), "").unwrap();
        for folder in [cache.path(), &repository] {
            let found = locate(folder, None).unwrap();
            let places = [found.config.unwrap(), vae.join(CONFIG_FILE)].map(|path| path.canonicalize().unwrap());
            assert_eq!(places[0], places[1]);
        }
        fs::create_dir(cache.path().join("models--empty--name")).unwrap();
        let problem = locate(&cache.path().join("models--empty--name"), None).unwrap_err().to_string();
        assert!(problem.contains("no model here: it has no folder `snapshots`"), "{problem}");
    }

    #[test]
    fn a_single_file_takes_the_configuration_beside_it_or_the_one_named_or_none() {
        let root = tempfile::tempdir().unwrap();
        let (file, other) = (root.path().join("mine.safetensors"), root.path().join("other.json"));
        fs::write(&file, "").unwrap();
        assert_eq!(locate(&file, None).unwrap(), ModelFiles { config: None, weights: WeightFiles::One(file.clone()) });
        let message = locate_config(&file).unwrap_err().to_string();
        assert!(message.contains("its configuration is not beside it") && message.contains(CONFIG_FILE), "{message}");
        assert!(locate(&file, Some(&other)).unwrap_err().to_string().contains("no such file; expected the model's"));
        fs::write(&other, "{}").unwrap();
        assert_eq!(locate(&file, Some(&other)).unwrap().config, Some(other));
        fs::write(root.path().join(CONFIG_FILE), "{}").unwrap();
        let expected =
            ModelFiles { config: Some(root.path().join(CONFIG_FILE)), weights: WeightFiles::One(file.clone()) };
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
}
