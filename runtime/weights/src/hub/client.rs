//! Requests to the hub: what a file of a repository is (HEAD), and its content (GET), resumed where
//! it broke off and checked.
//!
//! | request | what of the answer counts |
//! |---|---|
//! | `HEAD ENDPOINT/OWNER/NAME/resolve/REVISION/FILE` | `x-repo-commit`; `x-linked-etag`, else `etag`; `x-linked-size`, else `content-length`; for an error `x-error-code` and `x-error-message` |
//! | `GET` of the same, with `Range: bytes=N-` | 206 with the `content-range` asked for, or 200 from the start |
//!
//! Large files have their SHA-256 as etag, which is compared. Knows no cache; what a failure means
//! to a person is in `failure`. Addresses are made here too: hf-hub has them only beside its own
//! downloads, and escapes nothing but `/`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use ureq::config::Config;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::failure::Failure;
use super::proxies::Proxies;
use super::route::Route;
use super::settings::HubOptions;

/// What the answers of hubs alone have.
const COMMIT_HEADER: &str = "x-repo-commit";
/// Redirects followed for one request.
const REDIRECTS: u32 = 5;
/// Bytes read at a time.
const CHUNK: usize = 1 << 18;
/// How often content that is not what was announced is asked for: it is a transfer's fault once,
/// not twice.
const DAMAGED_LIMIT: u32 = 2;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What stays as it is in a component of an address.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A file as the hub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    url: String,
    /// The commit that the revision stands for.
    pub(super) commit: String,
    /// Names the content: the SHA-256 of a large file, git's hash of a small one. Safe as a file's
    /// name.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
}

/// Speaks to one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    authorization: Option<String>,
    proxies: Proxies,
    answer_timeout: Duration,
    timeout: Duration,
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
        let is_web = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let Some(address) = address.filter(is_web) else {
            return Err(format!("HF_ENDPOINT is `{endpoint}`, which is no http or https address"));
        };
        options.proxies.route(&address)?;
        let config = Config::builder()
            .tls_config(tls()?)
            .user_agent(concat!("tessera/", env!("CARGO_PKG_VERSION")))
            // Compressed content would have another length than the file.
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Followed here: each address has its own proxy, and may get the token or not.
            .max_redirects(0)
            // By itself it would look into the environment.
            .proxy(None);
        Ok(Client {
            agent: config.build().into(),
            endpoint: endpoint.into(),
            authorization: options.token.as_ref().map(|token| format!("Bearer {}", token.0)),
            proxies: options.proxies.clone(),
            answer_timeout: options.answer_timeout,
            timeout: options.timeout,
            attempts: options.attempts.max(1),
            first_pause: options.first_pause,
        })
    }

    /// What `file` of `owner/name` is at `revision`; `attempts` as [`HubOptions::attempts`].
    pub(super) fn head(&self, repository: &str, revision: &str, file: &str, attempts: u32) -> Result<Remote, Failure> {
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
                    if failures >= attempts {
                        return Err(failure);
                    }
                    thread::sleep(self.pause(failures));
                }
            }
        }
    }

    /// A repository that was renamed answers with a redirect to another path of the hub, which is
    /// followed; one to another host leads to the content, and carries itself the headers that
    /// describe it.
    fn head_once(&self, url: &str) -> Result<Remote, Attempt> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let answer = self.send(Method::HEAD, &url, None)?;
            let headers = answer.headers();
            let moved = redirect(&url, &answer);
            match moved {
                Some(to) if is_path(headers) || !headers.contains_key(COMMIT_HEADER) && self.is_hub(&to) => url = to,
                _ if answer.status().is_success() || moved.is_some() => {
                    return describe(url, headers).map_err(|problem| {
                        Attempt::Final(Failure::Protocol(format!(
                            "{problem}{}",
                            seen_instead(headers, moved.as_deref())
                        )))
                    });
                }
                _ => return Err(self.refusal(&answer)),
            }
        }
        Err(Attempt::Final(Failure::Protocol(format!("more than {REDIRECTS} redirects"))))
    }

    /// The content behind `url`, wherever that leads; without its first `start` bytes.
    fn content(&self, url: &str, start: u64) -> Result<Response<Body>, Attempt> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let answer = self.send(Method::GET, &url, (start > 0).then_some(start))?;
            match redirect(&url, &answer) {
                Some(to) => url = to,
                None => return Ok(answer),
            }
        }
        Err(Attempt::Final(Failure::Protocol(format!("more than {REDIRECTS} redirects"))))
    }

    /// Sends one request, through the proxy to its address, and with the token if that is the
    /// hub's.
    fn send(&self, method: Method, url: &str, start: Option<u64>) -> Result<Response<Body>, Attempt> {
        let is_question = method == Method::HEAD;
        let mut request = Request::builder().method(method).uri(url);
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_hub(url)) {
            request = request.header("authorization", authorization);
        }
        if let Some(start) = start {
            request = request.header("range", format!("bytes={start}-"));
        }
        let protocol = |problem: String| Attempt::Final(Failure::Protocol(problem));
        let request = request.body(()).map_err(|cause| protocol(format!("it leads to `{url}`: {cause}")))?;
        let route =
            self.proxies.route(request.uri()).map_err(|problem| Attempt::Final(Failure::Unreachable(problem)))?;
        let (proxy, name) = route.map_or((None, None), |Route { proxy, name }| (Some(proxy), Some(name)));
        let timeout = Some(if is_question { self.answer_timeout } else { self.timeout });
        let configured = self
            .agent
            .configure_request(request)
            .proxy(proxy)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .timeout_per_write(timeout);
        self.agent.run(configured.build()).map_err(|cause| unreachable_hub(&cause, name.as_deref()))
    }

    /// Whether an address is the hub's own, by a connection no less safe.
    fn is_hub(&self, url: &str) -> bool {
        let [hub, other] = [self.endpoint.as_str(), url].map(|url| url.parse::<Uri>().ok());
        let (Some(hub), Some(other)) = (hub, other) else { return false };
        let is_same_host = hub.host().zip(other.host()).is_some_and(|(hub, other)| hub.eq_ignore_ascii_case(other));
        let is_same_door = (hub.scheme(), hub.port_u16()) == (other.scheme(), other.port_u16());
        is_same_host && (is_same_door || other.scheme_str() == Some("https"))
    }

    /// What a status that is no success means. A hub says so in `x-error-code` and
    /// `x-error-message`; without them the status has to do.
    fn refusal(&self, answer: &Response<Body>) -> Attempt {
        let (status, headers) = (answer.status(), answer.headers());
        let said = header(headers, "x-error-message").map(plain_line).filter(|said| !said.is_empty());
        let bearer = header(headers, "www-authenticate").unwrap_or_default();
        let says = |words: &str| {
            [said.as_deref().unwrap_or_default(), bearer].iter().any(|text| text.to_ascii_lowercase().contains(words))
        };
        let of_token = self.authorization.is_some() && matches!(status.as_u16(), 400 | 401 | 403);
        if of_token && says("expired") {
            return Attempt::Final(Failure::ExpiredToken);
        }
        if of_token
            && ["invalid credentials", "invalid username or password", "invalid user token", "invalid_token"]
                .iter()
                .any(|words| says(words))
        {
            return Attempt::Final(Failure::InvalidToken);
        }
        if says("resource is disabled") {
            return Attempt::Final(Failure::Disabled);
        }
        Attempt::Final(match (header(headers, "x-error-code"), status.as_u16()) {
            (Some("EntryNotFound"), _) => Failure::NoFile,
            (Some("RevisionNotFound"), _) => Failure::NoRevision,
            (Some("RepoNotFound"), _) => Failure::NoRepository,
            (Some("GatedRepo"), _) => Failure::Gated,
            (_, 401 | 403) => Failure::Denied(status, said),
            (_, 404) => Failure::NoFile,
            (_, 408 | 425 | 429 | 500..=599) => {
                return Attempt::Again(Failure::Unreachable(format!("it answers {status}")));
            }
            (_, 416) => return Attempt::Again(Failure::Damaged("it is shorter than announced".into())),
            _ => Failure::Protocol(format!("it answers {status}")),
        })
    }

    /// Brings the content of `remote` to `partial`, which may hold the start of it, and checks
    /// length and checksum. `progress` is told the bytes that are there.
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
        // Written by place and not by appending: where there are no locks, two processes may write
        // the same bytes.
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(false).write(true).read(true).open(partial).map_err(on_disk)?;
        let mut here = file.metadata().map_err(on_disk)?.len();
        let (mut furthest, mut failures, mut damaged) = (here, 0, 0);
        loop {
            let outcome = match self.append(remote, &mut file, &mut here, progress) {
                Ok(()) => check(remote, &mut file),
                Err(attempt) => Err(attempt),
            };
            let failure = match outcome {
                Ok(()) => return file.sync_all().map_err(on_disk),
                Err(Attempt::Final(Failure::Disk { cause, .. })) => return Err(on_disk(cause)),
                Err(Attempt::Final(failure)) => return Err(failure),
                Err(Attempt::Again(failure)) => failure,
            };
            // A server that keeps breaking off is asked on for as long as each attempt gets
            // further.
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
        let answer = self.content(&remote.url, *here)?;
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
            _ => return Err(self.refusal(&answer)),
        };
        if let Some(length) = length.filter(|&length: &u64| length != remote.size) {
            let problem = format!("{} bytes were announced, {length} are sent", remote.size);
            return Err(Attempt::Again(Failure::Damaged(problem)));
        }
        let cut = |here: u64, problem: String| Attempt::Again(Failure::Cut { done: here, total: remote.size, problem });
        file.seek(SeekFrom::Start(*here)).map_err(on_disk)?;
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
fn check(remote: &Remote, file: &mut File) -> Result<(), Attempt> {
    const SHA256_DIGITS: usize = 64;
    if remote.etag.len() != SHA256_DIGITS || !remote.etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let on_disk = |cause| Attempt::Final(Failure::Disk { path: PathBuf::new(), cause });
    file.seek(SeekFrom::Start(0)).map_err(on_disk)?;
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

/// TLS in Rust and inline assembly: no C compiler is needed to build it, but it needs these
/// instructions. Certificates are those that the system trusts, which a company's mirror needs.
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

/// Where an answer says that what was asked for is, as a whole address.
fn redirect(url: &str, answer: &Response<Body>) -> Option<String> {
    let to = header(answer.headers(), "location").filter(|_| answer.status().is_redirection())?;
    let (scheme, rest) = url.split_once("://")?;
    Some(if let Some(path) = to.strip_prefix("//") {
        format!("{scheme}://{path}")
    } else if to.starts_with('/') {
        format!("{scheme}://{}{to}", rest.split(['/', '?']).next().unwrap_or(rest))
    } else if to.contains("://") {
        to.to_owned()
    } else {
        format!("{}/{to}", url.rsplit_once('/').map_or(url, |(folder, _)| folder))
    })
}

/// Whether what an answer leads to is a path on the same host.
fn is_path(headers: &HeaderMap) -> bool {
    header(headers, "location").is_some_and(|to| to.starts_with('/') && !to.starts_with("//"))
}

/// What came in place of a hub's answer, if that can be told: a page to log in at, mostly.
fn seen_instead(headers: &HeaderMap, moved: Option<&str>) -> String {
    let host = moved.and_then(|to| to.parse::<Uri>().ok()).and_then(|to| to.host().map(str::to_owned));
    let is_page = header(headers, "content-type").is_some_and(|kind| kind.trim_start().starts_with("text/html"));
    match host {
        Some(host) => format!(", it leads to `{host}`, as the login page of a network does"),
        None if is_page => ", it is a page for people, such as the login page of a network".into(),
        None => String::new(),
    }
}

/// What the hub says, short and without what would break a line.
fn plain_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
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
    let commit = header(headers, COMMIT_HEADER).ok_or_else(|| format!("it has no header {COMMIT_HEADER}"))?.to_owned();
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

/// No answer at all.
fn unreachable_hub(cause: &ureq::Error, proxy: Option<&str>) -> Attempt {
    let by = proxy.map_or(String::new(), |name| format!(", through the proxy {name}"));
    let failure = Failure::Unreachable(format!("{cause}{by}"));
    match cause {
        ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => Attempt::Final(failure),
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => Attempt::Again(failure),
        _ => Attempt::Final(failure),
    }
}
