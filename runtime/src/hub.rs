//! Models from the hub: an id such as `owner/name@revision` becomes files in the cache that Python's hub client keeps too.
//!
//! Only what is needed is fetched: config.json and the weights of the VAE. The order in which files are looked for, and
//! every message, is here; requests are in `client`, the folders on disk in `cache`. Which of a model's files are weights
//! is known by [`crate::model`].
//!
//! The crate `hf-hub` says where the cache is, how its folders are named, what a branch stood for and which token the
//! machine has. It is built without its own downloads; the workspace's manifest says why.

mod cache;
mod client;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Repo, RepoType};

use crate::error::{Error, Result};
use crate::model::{CONFIG_FILE, ModelFiles, VAE_FOLDER, WEIGHTS_CANDIDATES, WEIGHTS_FILE, WeightFiles};
use crate::shard_index::ShardIndex;

use cache::RepositoryCache;
use client::{Client, Failure, Remote};

/// Where models come from unless `HF_ENDPOINT` says otherwise.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
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

/// A secret that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How to reach the hub, and where its files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// The hub's address, `http` or `https`.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Sent to the hub, and to no other host that it sends us to.
    pub token: Option<Token>,
    /// Ask nobody; take what is in the cache.
    pub offline: bool,
    /// How long to wait for a connection, an answer, or the next bytes.
    pub timeout: Duration,
    /// How often in a row a request may fail, without having brought a byte, before it is given up.
    pub attempts: u32,
    /// The pause after the first failure; each further one is twice as long.
    pub first_pause: Duration,
}

impl HubOptions {
    /// The options that the environment asks for, by the names and rules of Python's hub client:
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_ENDPOINT` | the hub's address, for a mirror |
    /// | `HF_HOME` | the folder with token and cache; else `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface` |
    /// | `HF_HUB_CACHE` | the cache, else `$HF_HOME/hub` |
    /// | `HF_TOKEN`, `HF_TOKEN_PATH` | the token, or the file that holds it; else `$HF_HOME/token` |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | `1`: send no token |
    /// | `HF_HUB_OFFLINE` | `1`: ask nobody |
    ///
    /// # Errors
    /// [`Error::Hub`] if nothing says where the cache is, or the token cannot be one.
    pub fn from_env() -> Result<HubOptions> {
        HubOptions::from_variables(knobs::get, home_cache)
    }

    /// [`Self::from_env`] for these variables; `home_cache` is the cache where none of them names it.
    fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        home_cache: impl FnOnce() -> Option<hf_hub::Cache>,
    ) -> Result<HubOptions> {
        let fault = |problem: &str| Error::Hub { model: "settings".into(), problem: problem.into() };
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let is_set = |name: &str| {
            text(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
        };
        // Not hf-hub's `from_env`: it knows no XDG_CACHE_HOME, takes an empty HF_HOME for a folder, and overlooks one that
        // is not Unicode.
        let standard = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .map(|home| hf_hub::Cache::new(home.join("hub")))
            .or_else(home_cache);
        let cache = path("HF_HUB_CACHE")
            .or_else(|| standard.as_ref().map(|standard| standard.path().clone()))
            .ok_or_else(|| fault("there is no home folder to keep the cache in; set HF_HOME to a folder"))?;
        let token = if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else if let Some(token) = text("HF_TOKEN") {
            Some(token)
        } else if let Some(file) = path("HF_TOKEN_PATH") {
            fs::read_to_string(file).ok().map(|token| token.trim().to_owned())
        } else {
            // Beside the standard cache, wherever HF_HUB_CACHE is.
            standard.and_then(|standard| standard.token())
        };
        let token = token.filter(|token| !token.is_empty()).map(Token);
        if token.as_ref().is_some_and(|token| !token.0.chars().all(|c| c.is_ascii_graphic())) {
            return Err(fault("the token (HF_TOKEN or the token file) has characters that no token has"));
        }
        Ok(HubOptions {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
            cache,
            token,
            offline: is_set("HF_HUB_OFFLINE"),
            timeout: Duration::from_secs(30),
            attempts: 5,
            first_pause: Duration::from_millis(500),
        })
    }
}

/// The cache in the home folder of this machine's user. hf-hub panics where there is none.
fn home_cache() -> Option<hf_hub::Cache> {
    let home = std::env::home_dir()?;
    (!home.as_os_str().is_empty()).then(hf_hub::Cache::default)
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
/// Files are looked for in `vae/` and then at the top. All are of one commit. Where the hub cannot be reached, what is in
/// the cache will do.
///
/// # Errors
/// [`Error::Hub`] with what is missing or went wrong, and what to do; [`Error::ShardIndex`]; [`Error::Interrupted`].
pub(crate) fn fetch(
    id: &HubId,
    config: Option<&Path>,
    options: &HubOptions,
    progress: &mut OnDownload<'_>,
) -> Result<ModelFiles> {
    let mut session = Session::new(id, options)?;
    let mut missing = None;
    for folder in [format!("{VAE_FOLDER}/"), String::new()] {
        let config = match config {
            Some(config) => config.to_owned(),
            None => {
                let file = format!("{folder}{CONFIG_FILE}");
                let Some(config) = session.file(&file, progress)? else {
                    missing.get_or_insert(file);
                    continue;
                };
                config
            }
        };
        if let Some(weights) = session.weights(&folder, progress)? {
            session.finish()?;
            return Ok(ModelFiles { config, weights });
        }
        missing = Some(format!("{folder}{WEIGHTS_FILE}"));
    }
    Err(session.nothing_found(&missing.unwrap_or_default()))
}

/// Fetches the configuration alone, where [`fetch`] would find it; weights need not be there.
///
/// # Errors
/// As [`fetch`].
pub(crate) fn fetch_config(id: &HubId, options: &HubOptions, progress: &mut OnDownload<'_>) -> Result<PathBuf> {
    let mut session = Session::new(id, options)?;
    let nested = format!("{VAE_FOLDER}/{CONFIG_FILE}");
    for file in [nested.as_str(), CONFIG_FILE] {
        if let Some(config) = session.file(file, progress)? {
            session.finish()?;
            return Ok(config);
        }
    }
    Err(session.nothing_found(&nested))
}

/// One call of [`fetch`] or [`fetch_config`].
struct Session<'a> {
    id: &'a HubId,
    options: &'a HubOptions,
    cache: RepositoryCache,
    hub: Hub,
    /// The commit that the first answer named: all files are of it.
    commit: Option<String>,
}

/// Whether the hub is asked.
enum Hub {
    Online(Client),
    /// Why it is not.
    CacheOnly(String),
}

impl Session<'_> {
    fn new<'a>(id: &'a HubId, options: &'a HubOptions) -> Result<Session<'a>> {
        let cache = RepositoryCache::new(&options.cache, id);
        let hub = if options.offline {
            Hub::CacheOnly("HF_HUB_OFFLINE is set".into())
        } else {
            let client = Client::new(options).map_err(|problem| Error::Hub { model: id.to_string(), problem })?;
            Hub::Online(client)
        };
        Ok(Session { id, options, cache, hub, commit: None })
    }

    fn error(&self, problem: String) -> Error {
        Error::Hub { model: self.id.to_string(), problem }
    }

    /// A file's place in the cache, fetched if need be; `None` if the repository has no such file, or, where the hub is not
    /// asked, the cache.
    fn file(&mut self, file: &str, progress: &mut OnDownload<'_>) -> Result<Option<PathBuf>> {
        let revision = self.commit.as_deref().unwrap_or(&self.id.revision);
        if let Some(cached) = self.cache.find_commit(revision, file) {
            return Ok(Some(cached));
        }
        let client = match &self.hub {
            Hub::CacheOnly(_) => return Ok(self.cached(file)),
            Hub::Online(client) => client,
        };
        match client.head(&self.id.repository, revision, file) {
            Ok(remote) => {
                self.commit.get_or_insert_with(|| remote.commit.clone());
                self.download(client, &remote, file, progress).map(Some)
            }
            Err(Failure::NoFile) => Ok(None),
            Err(Failure::Unreachable(problem)) => {
                let cached = self.cached(file);
                if cached.is_some() {
                    log::warn!("{}: the hub cannot be reached ({problem}); taking what is in the cache", self.id);
                }
                self.hub = Hub::CacheOnly(format!("the hub cannot be reached: {problem}"));
                Ok(cached)
            }
            Err(failure) => Err(self.explain(file, failure)),
        }
    }

    /// What is in the cache, without the hub's word on what the revision stands for. Once it has given that, a file of
    /// another commit will not do.
    fn cached(&self, file: &str) -> Option<PathBuf> {
        if self.commit.is_some() { None } else { self.cache.find(file) }
    }

    /// Makes sure that a file's content is in the cache, and gives its place there.
    fn download(&self, client: &Client, remote: &Remote, file: &str, progress: &mut OnDownload<'_>) -> Result<PathBuf> {
        let on_disk = |failure| self.explain(file, failure);
        let mut report = |bytes_done| progress(Download { file, bytes_done, bytes_total: remote.size });
        if !self.cache.blob(&remote.etag).is_file() {
            // Another process may be fetching the same file: it is left to finish, and its result taken.
            let _lock = self.cache.lock(&remote.etag, &mut || report(0)).map_err(on_disk)?;
            if !self.cache.blob(&remote.etag).is_file() {
                let partial = self.cache.partial(&remote.etag);
                client.download(remote, &partial, &mut report).map_err(on_disk)?;
                self.cache.keep(&remote.etag).map_err(on_disk)?;
            }
        }
        self.cache.point(remote, file).map_err(on_disk)
    }

    /// The weights in a folder of the repository, the first there is of [`WEIGHTS_CANDIDATES`].
    fn weights(&mut self, folder: &str, progress: &mut OnDownload<'_>) -> Result<Option<WeightFiles>> {
        for candidate in WEIGHTS_CANDIDATES {
            let Some(path) = self.file(&format!("{folder}{}", candidate.file), progress)? else { continue };
            if !candidate.is_index {
                return Ok(Some(WeightFiles::One(path)));
            }
            let index = ShardIndex::read(&path)?;
            for shard in index.shard_names() {
                let file = format!("{folder}{shard}");
                if self.file(&file, progress)?.is_none() {
                    return Err(match &self.hub {
                        Hub::CacheOnly(_) => self.nothing_found(&file),
                        Hub::Online(_) => self.error(format!(
                            "`{file}` is not in the repository, but `{folder}{}` names it; the upload is incomplete",
                            candidate.file
                        )),
                    });
                }
            }
            return Ok(Some(WeightFiles::Shards(index)));
        }
        Ok(None)
    }

    /// Notes what the revision stands for, once all files are here: a call without the hub then finds them.
    fn finish(&self) -> Result<()> {
        let Some(commit) = &self.commit else { return Ok(()) };
        self.cache.note(commit).map_err(|failure| self.explain(&self.id.revision, failure))
    }

    /// No file where the search ended; `missing` is the one that would have been right.
    fn nothing_found(&self, missing: &str) -> Error {
        let HubId { repository, revision } = self.id;
        self.error(match &self.hub {
            Hub::CacheOnly(reason) => format!(
                "{reason}, and `{missing}` of revision `{revision}` is not in the cache ({}); run once with a connection, or \
                 copy the cache folder of a machine that has it, or name a folder with the model's files",
                self.cache.folder().display()
            ),
            Hub::Online(_) => format!(
                "no VAE in `{repository}` at revision `{revision}`: looked for {CONFIG_FILE} with {} in `{VAE_FOLDER}/` and at \
                 the top; `{missing}` is missing",
                WEIGHTS_CANDIDATES.map(|candidate| candidate.file).join(" or ")
            ),
        })
    }

    /// What a failure means to the person who asked for the model.
    fn explain(&self, file: &str, failure: Failure) -> Error {
        let HubId { repository, revision } = self.id;
        let token = match self.options.token {
            Some(_) => "the token that was sent (of HF_TOKEN or the token file) may not read it",
            None => "no token was sent: set HF_TOKEN to one that may read it",
        };
        self.error(match failure {
            Failure::NoFile => format!("`{file}` is not in the repository at revision `{revision}`"),
            Failure::NoRevision => format!("`{repository}` has no branch, tag or commit `{revision}`"),
            Failure::NoRepository => format!(
                "there is no path of this name here, and the hub shows no repository `{repository}`; check the spelling, or \
                 if it is private: {token}"
            ),
            Failure::Gated => format!(
                "`{repository}` is gated: ask for access on its page on the hub, and send a token of that account; {token}"
            ),
            Failure::Denied(status) => format!(
                "`{file}`: the hub refuses access ({status}), as it also does where there is no repository `{repository}`; \
                 check the spelling; {token}"
            ),
            Failure::Unreachable(problem) => format!("`{file}`: the hub cannot be reached: {problem}"),
            Failure::Cut { done, total, problem } => format!(
                "`{file}`: the download broke off {} times in a row ({problem}); {done} of {total} bytes are here and kept, the \
                 next call goes on from there",
                self.options.attempts
            ),
            Failure::Damaged(problem) => {
                format!("`{file}`: what arrived is not the file: {problem}; nothing was kept, try again later")
            }
            Failure::Protocol(problem) => {
                format!("`{file}`: the answer is not a hub's: {problem}; is HF_ENDPOINT right, is there a proxy in between?")
            }
            Failure::Disk { path, cause } => match cause.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
                    "`{file}`: no space left for {}; make room, or set HF_HUB_CACHE to a folder on another disk",
                    path.display()
                ),
                _ => format!(
                    "`{file}`: {} cannot be written: {cause}; HF_HUB_CACHE may name another folder",
                    path.display()
                ),
            },
            Failure::Interrupted => return Error::Interrupted,
        })
    }
}
