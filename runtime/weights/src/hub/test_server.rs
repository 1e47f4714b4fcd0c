//! A hub on this machine that misbehaves on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The repository that the server has; `old/name` redirects to it, and `moved/name` by a whole
/// address.
pub(super) const REPOSITORY: &str = "owner/name";

/// What a branch or tag stands for.
pub(super) struct Commit {
    /// 40 digits.
    pub(super) hash: String,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// This status and `x-error-code`.
    Status(u16, &'static str),
    /// This status, this header and a page of HTML.
    Page(u16, [&'static str; 2]),
    /// The connection closes behind this many bytes of the body.
    Cut(usize),
    /// The first byte of the body is another one.
    Corrupt,
    /// `content-length` and body are this many bytes longer.
    Longer(usize),
    /// Ranges are not known.
    NoRange,
    /// The body takes this long to come, byte by byte none of it.
    Stall(Duration),
    /// No header that only a hub sends.
    NoHub,
}

type FaultOf = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

struct State {
    revisions: BTreeMap<String, Commit>,
    fault: Box<FaultOf>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
    address: SocketAddr,
}

pub(super) struct Server {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// Git's hash for a small file, SHA-256 for weights, as far as tests can tell them apart.
pub(super) fn etag(file: &str, content: &[u8]) -> String {
    let digits: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    if is_large(file) { digits } else { digits[..40].into() }
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors")
}

impl Server {
    /// A server that has these revisions; `fault` is asked for each request.
    pub(super) fn start(
        revisions: BTreeMap<String, Commit>,
        fault: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let state = Arc::new(State {
            revisions,
            fault: Box::new(fault),
            requests: Mutex::default(),
            stopped: AtomicBool::new(false),
            address: listener.local_addr().unwrap(),
        });
        let shared = state.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let shared = shared.clone();
                // A client that hangs up in the middle is part of the tests.
                thread::spawn(move || shared.answer(&stream).unwrap_or_default());
            }
        });
        Server { state, thread: Some(thread) }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.state.address)
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Requests so far as `METHOD file`, those for content that is elsewhere as `METHOD /cdn/file`.
    pub(super) fn log(&self) -> Vec<String> {
        let short = |path: &str| {
            path.split_once("/resolve/")
                .map_or(path.into(), |(_, rest)| rest.split_once('/').map_or(rest, |(_, file)| file).to_owned())
        };
        self.requests().iter().map(|request| format!("{} {}", request.method, short(&request.path))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.state.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers })
}

impl State {
    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        let request = read_request(stream)?;
        self.requests.lock().unwrap().push(request.clone());
        let fault = (self.fault)(&request);
        let mut respond = |status: u16, headers: &[(&str, String)], body: &[u8]| {
            let mut head = format!("HTTP/1.1 {status} Whatever\r\nConnection: close\r\n");
            if !headers.iter().any(|(name, _)| *name == "Content-Length") {
                head += &format!("Content-Length: {}\r\n", body.len());
            }
            headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
            stream.write_all((head + "\r\n").as_bytes()).ok()?;
            if request.method != "HEAD" {
                if let Some(Fault::Stall(pause)) = fault {
                    thread::sleep(pause);
                }
                let end = if let Some(Fault::Cut(end)) = fault { end.min(body.len()) } else { body.len() };
                stream.write_all(&body[..end]).ok()?;
            }
            stream.shutdown(Shutdown::Write).ok()
        };
        if let Some(Fault::Status(status, code)) = fault {
            return respond(status, &[("X-Error-Code", code.into())], b"an error page");
        }
        if let Some(Fault::Page(status, [name, value])) = fault {
            return respond(status, &[("Content-Type", "text/html".into()), (name, value.into())], b"<html>");
        }
        if let Some(path) = request.path.strip_prefix("/old/name/") {
            return respond(307, &[("Location", format!("/{REPOSITORY}/{path}"))], b"");
        }
        if let Some(path) = request.path.strip_prefix("/moved/name/") {
            return respond(301, &[("Location", format!("http://{}/{REPOSITORY}/{path}", self.address))], b"");
        }
        let (elsewhere, path) = match request.path.strip_prefix("/cdn/") {
            Some(path) => (true, path),
            None => match request.path.strip_prefix(&format!("/{REPOSITORY}/resolve/")) {
                Some(path) => (false, path),
                None => return respond(404, &[("X-Error-Code", "RepoNotFound".into())], b""),
            },
        };
        let (revision, file) = path.split_once('/')?;
        let revision = revision.replace("%2F", "/");
        let found = self.revisions.iter().find(|(name, commit)| **name == revision || commit.hash == revision);
        let Some((_, commit)) = found else {
            return respond(404, &[("X-Error-Code", "RevisionNotFound".into())], b"");
        };
        let commit_header = ("X-Repo-Commit", commit.hash.clone());
        let Some(content) = commit.files.get(file) else {
            return respond(404, &[("X-Error-Code", "EntryNotFound".into()), commit_header], b"");
        };
        let tag = format!("\"{}\"", etag(file, content));
        if is_large(file) && !elsewhere {
            // Another name of this machine is another host: no token may go there.
            let location = format!("http://localhost:{}/cdn/{}/{file}", self.address.port(), commit.hash);
            let headers = [
                ("Location", location),
                ("X-Linked-Etag", tag),
                ("X-Linked-Size", content.len().to_string()),
                ("ETag", "\"of-the-redirect\"".into()),
                commit_header,
            ];
            return respond(302, &headers, b"");
        }
        let mut content = content.clone();
        match fault {
            Some(Fault::Corrupt) => content[0] ^= 1,
            Some(Fault::Longer(by)) if request.method == "GET" => content.resize(content.len() + by, 0),
            _ => {}
        }
        let mut headers = vec![];
        if !matches!(fault, Some(Fault::NoHub)) {
            headers.extend([("ETag", tag), commit_header]);
        }
        let range = request.headers.get("range").filter(|_| !matches!(fault, Some(Fault::NoRange)));
        let Some(start) =
            range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        else {
            headers.push(("Content-Length", content.len().to_string()));
            return respond(200, &headers, &content);
        };
        headers.push(("Content-Range", format!("bytes {start}-{}/{}", content.len() - 1, content.len())));
        respond(206, &headers, &content[start..])
    }
}
