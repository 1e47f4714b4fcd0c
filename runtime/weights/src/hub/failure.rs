//! Why a file or a model was not had from the hub, and what that means to the person who asked for
//! it.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use ureq::http::StatusCode;

use super::id::HubId;
use super::settings::HubOptions;
use crate::error::Error;

/// Why a file was not had.
#[derive(Debug)]
pub(super) enum Failure {
    /// The repository has no such file at this revision.
    NoFile,
    /// The repository has no such revision.
    NoRevision,
    /// There is no such repository, or it is not shown to us.
    NoRepository,
    /// The repository's owner has to grant access first.
    Gated,
    /// The hub has closed the repository.
    Disabled,
    /// The token was good once.
    ExpiredToken,
    /// The token never was one, or was revoked.
    InvalidToken,
    /// Access refused for another reason, with what the hub said.
    Denied(StatusCode, Option<String>),
    /// No answer, or only answers that ask to come back later.
    Unreachable(String),
    /// The content broke off too often.
    Cut {
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole.
        total: u64,
        /// How it broke off the last time.
        problem: String,
    },
    /// The content's length or checksum is not what was announced.
    Damaged(String),
    /// An answer that no hub gives.
    Protocol(String),
    /// A file or folder of ours.
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The caller asked to stop.
    Interrupted,
}

impl Failure {
    /// What it means that a file of this model was not had.
    pub(super) fn explain(self, id: &HubId, file: &str, options: &HubOptions) -> Error {
        let (repository, revision) = (id.repository(), id.revision());
        let token = match options.token {
            Some(_) => "the token that was sent (of HF_TOKEN or the token file) may not read it",
            None => "no token was sent: set HF_TOKEN to one that may read it",
        };
        let renew = "make a new one in the settings of your account on the hub and set HF_TOKEN to it, or send none \
             (HF_HUB_DISABLE_IMPLICIT_TOKEN=1) if the model is for everyone";
        let problem = match self {
            Failure::NoFile => format!("`{file}` is not in the repository at revision `{revision}`"),
            Failure::NoRevision => format!("`{repository}` has no branch, tag or commit `{revision}`"),
            Failure::NoRepository => format!(
                "there is no path of this name here, and the hub shows no repository `{repository}`; check the \
                 spelling, or if it is private: {token}"
            ),
            Failure::Gated => format!(
                "`{repository}` is gated: ask for access on its page on the hub, and send a token of that account; \
                 {token}"
            ),
            Failure::Disabled => format!("the hub has disabled the repository `{repository}`: nobody can read it"),
            Failure::ExpiredToken => {
                format!("the token that was sent (of HF_TOKEN or the token file) has expired: {renew}")
            }
            Failure::InvalidToken => {
                format!("the hub does not know the token that was sent (of HF_TOKEN or the token file): {renew}")
            }
            Failure::Denied(status, said) => format!(
                "`{file}`: the hub refuses access ({status}{}), as it also does where there is no repository \
                 `{repository}`; check the spelling; {token}",
                said.map_or(String::new(), |said| format!(": {said}"))
            ),
            Failure::Unreachable(problem) => format!("`{file}`: the hub cannot be reached: {problem}"),
            Failure::Cut { done, total, problem } => format!(
                "`{file}`: the download broke off {} times in a row ({problem}); {done} of {total} bytes are here and \
                 kept, the next call goes on from there",
                options.attempts
            ),
            Failure::Damaged(problem) => {
                format!("`{file}`: what arrived is not the file: {problem}; nothing was kept, try again later")
            }
            Failure::Protocol(problem) => {
                format!(
                    "`{file}`: the answer is not a hub's: {problem}; is HF_ENDPOINT right, is there a proxy in between?"
                )
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
        };
        Error::Hub { model: id.to_string(), problem }
    }
}
