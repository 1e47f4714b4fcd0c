//! Requests to the hub: what a file of a repository is (HEAD), and its content (GET), resumed where it broke off and checked.
//!
//! | request | what of the answer counts |
//! |---|---|
//! | `HEAD ENDPOINT/OWNER/NAME/resolve/REVISION/FILE` | `x-repo-commit`; `x-linked-etag`, else `etag`; `x-linked-size`, else `content-length`; for an error `x-error-code` |
//! | `GET` of the same, with `Range: bytes=N-` | 206 with the `content-range` asked for, or 200 from the start |
//!
//! Large files have their SHA-256 as etag, which is compared. Knows no cache and writes no message for a person.
//! Addresses are made here too: hf-hub has them only beside its own downloads, and escapes nothing but `/`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use ureq::config::{Config, RedirectAuthHeaders};
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::HubOptions;

/// Redirects followed for one request.
const REDIRECTS: u32 = 5;
/// Bytes read at a time.
const CHUNK: usize = 1 << 18;
/// How often content that is not what was announced is asked for: it is a transfer's fault once, not twice.
const DAMAGED_LIMIT: u32 = 2;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What stays as it is in a component of an address.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
    /// Access refused for another reason.
    Denied(StatusCode),
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

/// A file as the hub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    url: String,
    /// The commit that the revision stands for.
    pub(super) commit: String,
    /// Names the content: the SHA-256 of a large file, git's hash of a small one. Safe as a file's name.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
}

/// Speaks to one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    authorization: Option<String>,
    attempts: u32,
    first_pause: Duration,
}

/// Whether another attempt may end better.
enum Attempt {
    Again(Failure),
    Final(Failure),
}

impl Client {
    /// A client for these options; nothing is asked yet.
    ///
    /// # Errors
    /// What of the options, or of this machine, rules it out, in words.
    pub(super) fn new(options: &HubOptions) -> Result<Client, String> {
        let endpoint = options.endpoint.trim_end_matches('/');
        let address: Option<Uri> = endpoint.parse().ok();
        let host =
            address.as_ref().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https"))).and_then(Uri::host);
        let Some(host) = host else {
            return Err(format!("HF_ENDPOINT is `{endpoint}`, which is no http or https address"));
        };
        let timeout = Some(options.timeout);
        let mut config = Config::builder()
            .tls_config(tls()?)
            .user_agent(concat!("tessera/", env!("CARGO_PKG_VERSION")))
            // Compressed content would have another length than the file.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .timeout_per_write(timeout);
        // What runs on this machine is asked directly.
        if matches!(host, "127.0.0.1" | "[::1]" | "localhost") {
            config = config.proxy(None);
        }
        Ok(Client {
            agent: config.build().into(),
            endpoint: endpoint.into(),
            authorization: options.token.as_ref().map(|token| format!("Bearer {}", token.0)),
            attempts: options.attempts.max(1),
            first_pause: options.first_pause,
        })
    }

    /// What `file` of `owner/name` is at `revision`.
    pub(super) fn head(&self, repository: &str, revision: &str, file: &str) -> Result<Remote, Failure> {
        let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let file: Vec<String> = file.split('/').map(encode).collect();
        let url = format!("{}/{repository}/resolve/{}/{}", self.endpoint, encode(revision), file.join("/"));
        let mut failures = 0;
        loop {
            match self.head_once(&url) {
                Ok(remote) => return Ok(remote),
                Err(Attempt::Final(failure)) => return Err(failure),
                Err(Attempt::Again(failure)) => {
                    failures += 1;
                    if failures == self.attempts {
                        return Err(failure);
                    }
                    thread::sleep(self.pause(failures));
                }
            }
        }
    }

    /// A repository that was renamed answers with a redirect to another path of the hub, which is followed; one to another
    /// host leads to the content, and carries itself the headers that describe it.
    fn head_once(&self, url: &str) -> Result<Remote, Attempt> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.head(&url);
            if let Some(authorization) = &self.authorization {
                request = request.header("authorization", authorization);
            }
            let answer = request.config().max_redirects(0).build().call().map_err(|cause| unreachable_hub(&cause))?;
            let headers = answer.headers();
            let moved = header(headers, "location").filter(|_| answer.status().is_redirection());
            match moved {
                Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                    url = format!("{}{path}", origin(&self.endpoint));
                }
                _ if answer.status().is_success() || moved.is_some() => {
                    return describe(url, headers).map_err(|problem| Attempt::Final(Failure::Protocol(problem)));
                }
                _ => return Err(refusal(&answer)),
            }
        }
        Err(Attempt::Final(Failure::Protocol(format!("more than {REDIRECTS} redirects"))))
    }

    /// Brings the content of `remote` to `partial`, which may hold the start of it, and checks length and checksum.
    /// `progress` is told the bytes that are there.
    pub(super) fn download(
        &self,
        remote: &Remote,
        partial: &Path,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let on_disk = |cause| Failure::Disk { path: partial.into(), cause };
        if let Some(folder) = partial.parent() {
            fs::create_dir_all(folder).map_err(on_disk)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(partial).map_err(on_disk)?;
        let mut here = file.metadata().map_err(on_disk)?.len();
        let (mut furthest, mut failures, mut damaged) = (here, 0, 0);
        loop {
            let outcome = match self.append(remote, &mut file, &mut here, progress) {
                Ok(()) => check(remote, partial),
                Err(attempt) => Err(attempt),
            };
            let failure = match outcome {
                Ok(()) => return file.sync_all().map_err(on_disk),
                Err(Attempt::Final(Failure::Disk { cause, .. })) => return Err(on_disk(cause)),
                Err(Attempt::Final(failure)) => return Err(failure),
                Err(Attempt::Again(failure)) => failure,
            };
            // A server that keeps breaking off is asked on for as long as each attempt gets further.
            failures = if here > furthest { 1 } else { failures + 1 };
            furthest = furthest.max(here);
            if matches!(failure, Failure::Damaged(_)) {
                file.set_len(0).map_err(on_disk)?;
                here = 0;
                damaged += 1;
            }
            if failures >= self.attempts || damaged >= DAMAGED_LIMIT {
                return Err(match failure {
                    Failure::Unreachable(problem) if here > 0 => {
                        Failure::Cut { done: here, total: remote.size, problem }
                    }
                    failure => failure,
                });
            }
            let pause = self.pause(failures);
            log::info!("{}: {failure:?}; next attempt in {pause:?}", remote.url);
            thread::sleep(pause);
        }
    }

    /// One request for what is missing behind the first `here` bytes, written behind them.
    fn append(
        &self,
        remote: &Remote,
        file: &mut File,
        here: &mut u64,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), Attempt> {
        let on_disk = |cause| Attempt::Final(Failure::Disk { path: PathBuf::new(), cause });
        let mut tell = |here| match progress(here) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Attempt::Final(Failure::Interrupted)),
        };
        let start_over = |file: &mut File, here: &mut u64| match std::mem::take(here) {
            0 => Ok(()),
            _ => file.set_len(0).map_err(on_disk),
        };
        if *here > remote.size {
            start_over(file, here)?;
        }
        tell(*here)?;
        if *here == remote.size {
            return Ok(());
        }
        let mut request = self.agent.get(&remote.url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if *here > 0 {
            request = request.header("range", format!("bytes={here}-"));
        }
        let answer = request.call().map_err(|cause| unreachable_hub(&cause))?;
        let length = match answer.status() {
            StatusCode::OK => {
                // The server knows no ranges.
                start_over(file, here)?;
                header(answer.headers(), "content-length").and_then(|length| length.parse().ok())
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = header(answer.headers(), "content-range").and_then(parse_range);
                let Some((_, total)) = range.filter(|(start, _)| start == here) else {
                    start_over(file, here)?;
                    return Err(Attempt::Again(Failure::Damaged("it is another part than was asked for".into())));
                };
                total
            }
            _ => return Err(refusal(&answer)),
        };
        if let Some(length) = length.filter(|&length: &u64| length != remote.size) {
            let problem = format!("{} bytes were announced, {length} are sent", remote.size);
            return Err(Attempt::Again(Failure::Damaged(problem)));
        }
        let cut = |here: u64, problem: String| Attempt::Again(Failure::Cut { done: here, total: remote.size, problem });
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cut(*here, cause.to_string())),
            };
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(on_disk)?;
            *here += count as u64;
            if *here > remote.size {
                let problem = format!("{} bytes were announced, more are sent", remote.size);
                return Err(Attempt::Again(Failure::Damaged(problem)));
            }
            tell(*here)?;
        }
        if *here < remote.size { Err(cut(*here, "the connection was closed".into())) } else { Ok(()) }
    }

    fn pause(&self, failures: u32) -> Duration {
        self.first_pause.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE)
    }
}

/// Compares the SHA-256 of the content, where the hub names it.
fn check(remote: &Remote, partial: &Path) -> Result<(), Attempt> {
    const SHA256_DIGITS: usize = 64;
    if remote.etag.len() != SHA256_DIGITS || !remote.etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let on_disk = |cause| Attempt::Final(Failure::Disk { path: partial.into(), cause });
    let mut file = File::open(partial).map_err(on_disk)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).map_err(on_disk)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found.eq_ignore_ascii_case(&remote.etag) {
        return Ok(());
    }
    Err(Attempt::Again(Failure::Damaged(format!("its SHA-256 is {found}, expected {}", remote.etag))))
}

/// TLS in Rust and inline assembly: no C compiler is needed to build it, but it needs these instructions. Certificates are
/// those that the system trusts, which a company's mirror needs.
fn tls() -> Result<TlsConfig, String> {
    #[cfg(target_arch = "x86_64")]
    let supported = {
        use std::arch::is_x86_feature_detected as has;
        has!("adx") && has!("aes") && has!("avx2") && has!("bmi1") && has!("pclmulqdq")
    };
    #[cfg(target_arch = "aarch64")]
    let supported = {
        use std::arch::is_aarch64_feature_detected as has;
        has!("neon") && has!("aes") && has!("pmull") && has!("sha2")
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let supported = false;
    if !supported {
        return Err("this processor lacks the instructions for an encrypted connection; fetch the files with another \
                    program and name their folder"
            .into());
    }
    let config = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let config = config.unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls_graviola::default_provider()));
    Ok(config.build())
}

/// Scheme, host and port of an address.
fn origin(endpoint: &str) -> &str {
    let host = endpoint.find("://").map_or(0, |at| at + 3);
    endpoint[host..].find('/').map_or(endpoint, |path| &endpoint[..host + path])
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The start and the total of `bytes 5-9/10`; the total may be `*`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// The file that an answer to HEAD is about.
fn describe(url: String, headers: &HeaderMap) -> Result<Remote, String> {
    let of = |names: [&str; 2]| {
        names
            .into_iter()
            .find_map(|name| header(headers, name))
            .ok_or_else(|| format!("it has no header {}", names.join(" or ")))
    };
    let commit = header(headers, "x-repo-commit").ok_or("it has no header x-repo-commit")?.to_owned();
    let etag = of(["x-linked-etag", "etag"])?;
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"').to_owned();
    let size = of(["x-linked-size", "content-length"])?;
    let size = size.parse().map_err(|_| format!("its length is `{size}`"))?;
    // Both become names of files in the cache.
    let plain = |text: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=128).contains(&text.len()) && text.bytes().all(known) && !text.starts_with('.')
    };
    if !plain(&commit) || !plain(&etag) {
        return Err(format!("its commit is `{commit}`, its etag `{etag}`"));
    }
    Ok(Remote { url, commit, etag, size })
}

/// What a status that is no success means. A hub says so in `x-error-code`; without it the status has to do.
fn refusal(answer: &Response<Body>) -> Attempt {
    let status = answer.status();
    Attempt::Final(match (header(answer.headers(), "x-error-code"), status.as_u16()) {
        (Some("EntryNotFound"), _) => Failure::NoFile,
        (Some("RevisionNotFound"), _) => Failure::NoRevision,
        (Some("RepoNotFound"), _) => Failure::NoRepository,
        (Some("GatedRepo"), _) => Failure::Gated,
        (_, 401 | 403) => Failure::Denied(status),
        (_, 404) => Failure::NoFile,
        (_, 408 | 429 | 500..=599) => return Attempt::Again(Failure::Unreachable(format!("it answers {status}"))),
        (_, 416) => return Attempt::Again(Failure::Damaged("it is shorter than announced".into())),
        _ => Failure::Protocol(format!("it answers {status}")),
    })
}

/// No answer at all.
fn unreachable_hub(cause: &ureq::Error) -> Attempt {
    let failure = Failure::Unreachable(cause.to_string());
    match cause {
        ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => Attempt::Final(failure),
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => Attempt::Again(failure),
        _ => Attempt::Final(failure),
    }
}
