//! Models from the hub: an id such as `owner/name@revision` becomes files in the cache that Python's hub client keeps too.
//!
//! Only what is needed is fetched: config.json and the weights of the VAE. The order in which files are looked for, and what is
//! done where the hub gives nothing, is here; requests are in `client`, the folders on disk in `cache`, what the environment
//! says in `settings` and `proxies`, what a failure means in `failure`. Which of a model's files are weights is known by
//! [`crate::model`].
//!
//! The crate `hf-hub` says where the cache is, how its folders are named, what a branch stood for and which token the
//! machine has. It is built without its own downloads; the workspace's manifest says why.

mod cache;
mod cached_folder;
mod client;
mod failure;
#[cfg(test)]
mod fallback_tests;
mod proxies;
mod settings;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hf_hub::{Repo, RepoType};

use crate::error::{Error, Result};
use crate::model::{CONFIG_FILE, ModelFiles, VAE_FOLDER, WEIGHTS_CANDIDATES, WEIGHTS_FILE, WeightFiles};
use crate::shard_index::ShardIndex;

use cache::{RepositoryCache, is_commit};
use client::{Client, Remote};
use failure::Failure;

pub(crate) use cached_folder::model_folder;
pub use proxies::Proxies;
pub use settings::{HubOptions, Token};

/// The revision of an id that names none.
const DEFAULT_REVISION: &str = "main";

/// A model on the hub: `owner/name`, and a branch, tag or commit of it. Only [`HubId::parse`] makes one: both parts become
/// paths in the cache, and hf-hub looks at neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    repository: String,
    revision: String,
}

impl HubId {
    /// Reads `owner/name` or `owner/name@revision`.
    ///
    /// # Errors
    /// Why the text is no such id, in words.
    pub fn parse(text: &str) -> std::result::Result<HubId, String> {
        const PART_LIMIT: usize = 96;
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, revision),
            None => (text, DEFAULT_REVISION),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let [_, _] = parts[..] else {
            return Err("an id is `owner/name` or `owner/name@revision`, with exactly one `/` before the `@`".into());
        };
        for part in parts {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let edges = part.starts_with(['.', '-']) || part.ends_with(['.', '-']);
            let repeated = part.contains("--") || part.contains("..");
            if part.is_empty() || part.len() > PART_LIMIT || edges || repeated || !part.chars().all(known) {
                return Err(format!(
                    "`{part}` cannot be the owner or name in an id: it takes 1 to {PART_LIMIT} letters, digits, `.`, `_` \
                     and `-`, the last three neither doubled nor at an end"
                ));
            }
        }
        // A revision becomes a path in the cache: what git forbids in a reference's name is forbidden here too.
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || "\\:~^?*[\"<>|".contains(c);
        let component =
            |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with('.') || part.contains("..");
        if revision.contains(forbidden) || revision.split('/').any(component) {
            return Err(format!("`{revision}` is not the name of a branch, tag or commit"));
        }
        Ok(HubId { repository: repository.into(), revision: revision.into() })
    }

    /// `owner/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A branch, tag or commit; `main` if the id names none.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The id as hf-hub wants it.
    fn repo(&self) -> Repo {
        Repo::with_revision(self.repository.clone(), RepoType::Model, self.revision.clone())
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            DEFAULT_REVISION => f.write_str(&self.repository),
            revision => write!(f, "{}@{revision}", self.repository),
        }
    }
}

/// How far the download of one file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download<'a> {
    /// The file's path in the repository, such as `vae/config.json`.
    pub file: &'a str,
    /// Bytes that are here, those of an earlier, interrupted download included.
    pub bytes_done: u64,
    /// Bytes of the whole file.
    pub bytes_total: u64,
}

/// Called often while a file is downloaded, and not at all for one in the cache. Breaking stops the call with
/// [`Error::Interrupted`]; what is here already is kept for the next call.
pub type OnDownload<'a> = dyn FnMut(Download<'_>) -> ControlFlow<()> + 'a;

/// Finds a model's files in the cache, fetching those that are not there or that the revision has moved on from.
/// `config` takes the place of the repository's config.json.
///
/// Files are looked for in `vae/` and then at the top. All are of one commit. Where the hub does not give them, for whatever
/// reason, a model that is whole in the cache will do, which is said in the log.
///
/// # Errors
/// [`Error::Hub`] with what is missing or went wrong, and what to do; [`Error::ShardIndex`]; [`Error::Interrupted`].
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
            "`{missing}` of revision `{}` is not in the cache ({}); run once with a connection, or copy the cache folder of a \
             machine that has it, or name a folder with the model's files",
            id.revision,
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
        Ok(found) if is_commit(&id.revision) => return Ok(found),
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
        let HubId { repository, revision } = id;
        let problem = match self {
            Missing::File(missing) => format!(
                "no VAE in `{repository}` at revision `{revision}`: looked for {CONFIG_FILE} with {} in `{VAE_FOLDER}/` and at \
                 the top; `{missing}` is missing",
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
                return Ok(ModelFiles { config, weights });
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

    /// A file's place in the cache, fetched if need be; `None` if the repository has no such file, or, where the hub is not
    /// asked, the cache.
    fn file(&mut self, file: &str, progress: &mut OnDownload<'_>) -> Found<Option<PathBuf>> {
        let revision = self.commit.as_deref().unwrap_or(&self.id.revision);
        if let Some(cached) = self.cache.find_commit(revision, file) {
            return Ok(Some(cached));
        }
        let Some(hub) = &self.hub else { return Ok(self.cache.find(file)) };
        match hub.client.head(&self.id.repository, revision, file, hub.attempts) {
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
            // Another process may be fetching the same file: it is left to finish, and its result taken.
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

    /// Notes what the revision stands for, once all files are here: a call without the hub then finds them.
    fn finish(&self) {
        if let Some(commit) = &self.commit {
            self.cache.note(commit);
        }
    }
}
