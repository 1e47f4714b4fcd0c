//! Fetching a model: the order in which files are looked for, and what is done where the hub gives
//! nothing.
//!
//! Only what is needed is fetched: config.json and the weights of the VAE. Requests are in
//! `client`, the folders on disk in `cache`, what a failure means in `failure`.
//!
//! The crate `hf-hub` says where the cache is, how its folders are named and what a branch stood
//! for. It is built without its own downloads; the workspace's manifest says why.

use std::path::{Path, PathBuf};

use super::cache::RepositoryCache;
use super::client::{Client, Remote};
use super::download::{Download, OnDownload};
use super::failure::Failure;
use super::id::{HubId, is_commit};
use super::settings::HubOptions;
use crate::error::{Error, Result};
use crate::file_names::{CONFIG_FILE, VAE_FOLDER, WEIGHTS_CANDIDATES, WEIGHTS_FILE};
use crate::model_files::{ModelFiles, WeightFiles};
use crate::shard_index::ShardIndex;

/// Finds a model's files in the cache, fetching those that are not there or that the revision has
/// moved on from. `config` takes the place of the repository's config.json.
///
/// Files are looked for in `vae/` and then at the top. All are of one commit. Where the hub does
/// not give them, for whatever reason, a model that is whole in the cache will do, which is said in
/// the log.
///
/// # Errors
/// [`Error::Hub`] with what is missing or went wrong, and what to do; [`Error::ShardIndex`];
/// [`Error::Interrupted`].
pub(crate) fn fetch(
    id: &HubId,
    config: Option<&Path>,
    options: &HubOptions,
    progress: &mut OnDownload<'_>,
) -> Result<ModelFiles> {
    obtain(id, options, |session| session.model(config, progress))
}

/// Fetches the configuration alone, where [`fetch`] would find it; weights need not be there.
///
/// # Errors
/// As [`fetch`].
pub(crate) fn fetch_config(id: &HubId, options: &HubOptions, progress: &mut OnDownload<'_>) -> Result<PathBuf> {
    obtain(id, options, |session| session.config(progress))
}

/// What `find` finds with the hub's help, or else in the cache alone.
fn obtain<T>(id: &HubId, options: &HubOptions, mut find: impl FnMut(&mut Session<'_>) -> Found<T>) -> Result<T> {
    let cache = RepositoryCache::new(&options.cache, id);
    let cached = find(&mut Session { id, cache: &cache, hub: None, commit: None });
    let not_cached = |missing: &str| {
        format!(
            "`{missing}` of revision `{}` is not in the cache ({}); run once with a connection, or copy the cache \
             folder of a machine that has it, or name a folder with the model's files",
            id.revision(),
            cache.folder().display()
        )
    };
    let error = |problem| Error::Hub { model: id.to_string(), problem };
    if options.offline {
        let reason = "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set";
        return cached.map_err(|missing| match missing {
            Missing::File(file) => error(format!("{reason}, and {}", not_cached(&file))),
            missing => missing.explain(id, options),
        });
    }
    let cached = match cached {
        // A commit never changes.
        Ok(found) if is_commit(id.revision()) => return Ok(found),
        cached => cached,
    };
    let asked = Client::new(options).map_err(Failure::Unreachable).map_err(|failure| Missing::of(CONFIG_FILE, failure));
    let asked = asked.and_then(|client| {
        let attempts = if cached.is_ok() { 1 } else { options.attempts.max(1) };
        let mut session = Session { id, cache: &cache, hub: Some(Hub { client, attempts }), commit: None };
        let found = find(&mut session)?;
        session.finish();
        Ok(found)
    });
    match (asked, cached) {
        (Ok(found), _) => Ok(found),
        (Err(missing), _) if missing.is_interruption() => Err(Error::Interrupted),
        (Err(missing), Ok(found)) => {
            log::warn!("{}; taking the model as it is in the cache", missing.explain(id, options));
            Ok(found)
        }
        (Err(Missing::Failed(_, Failure::Unreachable(problem))), Err(Missing::File(file))) => {
            Err(error(format!("the hub cannot be reached: {problem}, and {}", not_cached(&file))))
        }
        (Err(missing), _) => Err(missing.explain(id, options)),
    }
}

/// What is found, or why it is not.
type Found<T> = std::result::Result<T, Missing>;

/// Why something was not found.
enum Missing {
    /// There is no such file where the search ended; this one would have been right.
    File(String),
    /// The hub did not give this file.
    Failed(String, Failure),
    /// An index of shards names this file, and the repository does not have it.
    Shard(String),
    /// Another fault.
    Other(Error),
}

impl Missing {
    fn of(file: &str, failure: Failure) -> Missing {
        Missing::Failed(file.into(), failure)
    }

    fn is_interruption(&self) -> bool {
        matches!(self, Missing::Failed(_, Failure::Interrupted))
    }

    /// What it means to the person who asked for the model.
    fn explain(self, id: &HubId, options: &HubOptions) -> Error {
        let (repository, revision) = (id.repository(), id.revision());
        let problem = match self {
            Missing::File(missing) => format!(
                "no VAE in `{repository}` at revision `{revision}`: looked for {CONFIG_FILE} with {} in \
                 `{VAE_FOLDER}/` and at the top; `{missing}` is missing",
                WEIGHTS_CANDIDATES.map(|candidate| candidate.file).join(" or ")
            ),
            Missing::Shard(shard) => {
                format!(
                    "`{shard}` is not in the repository, but the index beside it names it; the upload is incomplete"
                )
            }
            Missing::Failed(file, failure) => return failure.explain(id, &file, options),
            Missing::Other(error) => return error,
        };
        Error::Hub { model: id.to_string(), problem }
    }
}

/// One search for a model, in the cache alone or with the hub's help.
struct Session<'a> {
    id: &'a HubId,
    cache: &'a RepositoryCache,
    /// `None`: nobody is asked.
    hub: Option<Hub>,
    /// The commit that the first answer named: all files are of it.
    commit: Option<String>,
}

/// The hub that is asked.
struct Hub {
    client: Client,
    /// How often a question is tried.
    attempts: u32,
}

impl Session<'_> {
    /// The files of the model; `config` takes the place of its configuration.
    fn model(&mut self, config: Option<&Path>, progress: &mut OnDownload<'_>) -> Found<ModelFiles> {
        let mut missing = None;
        for folder in [format!("{VAE_FOLDER}/"), String::new()] {
            let config = match config {
                Some(config) => config.to_owned(),
                None => {
                    let file = format!("{folder}{CONFIG_FILE}");
                    let Some(config) = self.file(&file, progress)? else {
                        missing.get_or_insert(file);
                        continue;
                    };
                    config
                }
            };
            if let Some(weights) = self.weights(&folder, progress)? {
                return Ok(ModelFiles { config: Some(config), weights });
            }
            missing = Some(format!("{folder}{WEIGHTS_FILE}"));
        }
        Err(Missing::File(missing.unwrap_or_default()))
    }

    /// The configuration alone.
    fn config(&mut self, progress: &mut OnDownload<'_>) -> Found<PathBuf> {
        let nested = format!("{VAE_FOLDER}/{CONFIG_FILE}");
        for file in [nested.as_str(), CONFIG_FILE] {
            if let Some(config) = self.file(file, progress)? {
                return Ok(config);
            }
        }
        Err(Missing::File(nested))
    }

    /// A file's place in the cache, fetched if need be; `None` if the repository has no such file,
    /// or, where the hub is not asked, the cache.
    fn file(&mut self, file: &str, progress: &mut OnDownload<'_>) -> Found<Option<PathBuf>> {
        let revision = self.commit.as_deref().unwrap_or(self.id.revision());
        if let Some(cached) = self.cache.find_commit(revision, file) {
            return Ok(Some(cached));
        }
        let Some(hub) = &self.hub else { return Ok(self.cache.find(file)) };
        match hub.client.head(self.id.repository(), revision, file, hub.attempts) {
            Ok(remote) => {
                let place = self.download(&hub.client, &remote, file, progress);
                let place = place.map_err(|failure| Missing::of(file, failure))?;
                self.commit.get_or_insert(remote.commit);
                Ok(Some(place))
            }
            Err(Failure::NoFile) => Ok(None),
            Err(failure) => Err(Missing::of(file, failure)),
        }
    }

    /// Makes sure that a file's content is in the cache, and gives its place there.
    fn download(
        &self,
        client: &Client,
        remote: &Remote,
        file: &str,
        progress: &mut OnDownload<'_>,
    ) -> std::result::Result<PathBuf, Failure> {
        let mut report = |bytes_done| progress(Download { file, bytes_done, bytes_total: remote.size });
        if !self.cache.blob(&remote.etag).is_file() {
            // Another process may be fetching the same file: it is left to finish, and its result
            // taken.
            let _lock = self.cache.lock(&remote.etag, &mut || report(0))?;
            if !self.cache.blob(&remote.etag).is_file() {
                client.download(remote, &self.cache.partial(&remote.etag), &mut report)?;
                self.cache.keep(&remote.etag)?;
            }
        }
        self.cache.point(remote, file)
    }

    /// The weights in a folder of the repository, the first there is of [`WEIGHTS_CANDIDATES`].
    fn weights(&mut self, folder: &str, progress: &mut OnDownload<'_>) -> Found<Option<WeightFiles>> {
        for candidate in WEIGHTS_CANDIDATES {
            let Some(path) = self.file(&format!("{folder}{}", candidate.file), progress)? else { continue };
            if !candidate.is_index {
                return Ok(Some(WeightFiles::One(path)));
            }
            let index = ShardIndex::read(&path).map_err(Missing::Other)?;
            for shard in index.shard_names() {
                let file = format!("{folder}{shard}");
                if self.file(&file, progress)?.is_none() {
                    return Err(if self.hub.is_some() { Missing::Shard(file) } else { Missing::File(file) });
                }
            }
            return Ok(Some(WeightFiles::Shards(index)));
        }
        Ok(None)
    }

    /// Notes what the revision stands for, once all files are here: a call without the hub then
    /// finds them.
    fn finish(&self) {
        if let Some(commit) = &self.commit {
            self.cache.note(commit);
        }
    }
}
