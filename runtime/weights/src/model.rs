//! What a person names as a model, and the files that it comes to: a folder, a weights file, or an
//! id on the hub.
//!
//! What is on disk is found by `locate`, what is not is fetched by [`crate::hub`]. What a file that
//! is named itself holds, its content says and not its ending.

use std::path::{Path, PathBuf};

use files::fragment::split_fragment;

use crate::error::{Error, Result};
use crate::file_names::ends_as_file;
use crate::hub::{self, HubId, HubOptions, OnDownload};
use crate::locate::check_config;

pub use crate::file_names::{CONFIG_FILE, WEIGHTS_FILE};
pub use crate::locate::{locate, locate_config};
pub use crate::model_files::{ModelFiles, WeightFiles};

/// A model as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Where it is.
    pub source: ModelSource,
    /// A configuration to use in place of the one beside the weights.
    pub config: Option<PathBuf>,
    /// What the names of its weights begin with, where files hold several models; see
    /// [`crate::Checkpoint::under`].
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
    /// Takes `model` for a path if there is one of this name, else for a hub id
    /// `owner/name[@revision]`; `#PREFIX` behind either says what the names of its weights
    /// begin with.
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
        let id = if ends_as_file(text) { Err("it ends as a file's name does".into()) } else { HubId::parse(text) };
        match id {
            Ok(id) => Ok(spec(ModelSource::Hub(id))),
            Err(reason) => {
                let problem = format!("there is no such file or folder; nor is it an id on the hub: {reason}");
                Err(Error::NoModel { path: path.clone(), problem })
            }
        }
    }
}

/// Finds the files of a model, fetching from the hub what is not in the cache; `progress` is told
/// how far a file has come.
///
/// # Errors
/// Those of [`locate`] for a path; for a hub id [`Error::Hub`] with what was missing or went wrong
/// and what to do, [`Error::ShardIndex`], [`Error::Interrupted`] when `progress` breaks, and
/// [`Error::NoHub`] without the feature `hub`.
pub fn resolve(spec: &ModelSpec, hub: &HubOptions, progress: &mut OnDownload<'_>) -> Result<ModelFiles> {
    match &spec.source {
        ModelSource::Path(path) => locate(path, spec.config.as_deref()),
        ModelSource::Hub(id) => {
            check_config(spec.config.as_deref())?;
            hub::fetch(id, spec.config.as_deref(), hub, progress)
        }
    }
}

/// Finds the configuration of a model, with or without weights beside it; fetches it from the hub
/// if it is not in the cache.
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

#[cfg(test)]
mod tests {
    use super::*;

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
