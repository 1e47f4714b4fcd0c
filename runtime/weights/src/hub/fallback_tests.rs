//! What is done where the hub does not give a model: what is in the cache, or what is said of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::settings::{HubOptions, Token};
use super::test_server::{Fault, REPOSITORY, Server};
use super::tests::{COMMIT, Case, WEIGHTS, case, commit, complaint, get, is_content, pipeline, revisions};
use crate::model::ModelFiles;

/// Ways in which a hub does not give a model.
const REFUSALS: [Fault; 15] = [
    Fault::Status(401, "RepoNotFound"),
    Fault::Status(401, ""),
    Fault::Status(403, "GatedRepo"),
    Fault::Status(403, ""),
    Fault::Status(404, "RepoNotFound"),
    Fault::Status(404, "RevisionNotFound"),
    Fault::Status(404, "EntryNotFound"),
    Fault::Status(404, ""),
    Fault::Status(429, ""),
    Fault::Status(500, ""),
    Fault::Status(511, ""),
    Fault::Page(200, ["X-Portal", "1"]),
    Fault::Page(302, ["Location", "http://login.invalid/?to=hub"]),
    Fault::Page(307, ["Location", "/login"]),
    Fault::NoHub,
];

#[test]
fn a_model_that_is_whole_in_the_cache_needs_no_hub() {
    for fault in REFUSALS {
        let open = Arc::new(AtomicBool::new(true));
        let gate = open.clone();
        let Case { server, mut options, cache: _cache } =
            case(&pipeline(), move |_| (!gate.load(Ordering::SeqCst)).then_some(fault));
        let files = get(REPOSITORY, &options).unwrap();
        open.store(false, Ordering::SeqCst);
        let before = server.log().len();
        assert_eq!(get(REPOSITORY, &options).unwrap(), files, "{fault:?}");
        let questions = server.log().len() - before;
        assert!(questions <= 12, "{fault:?}: the hub was asked {questions} times");
        // What is not whole is not taken, and the hub's refusal is what is told.
        let path = files.config.as_ref().unwrap().with_file_name("diffusion_pytorch_model.safetensors");
        fs::remove_file(path).unwrap();
        options.token = None;
        assert!(complaint(REPOSITORY, &options).starts_with("owner/name: "), "{fault:?}");
    }
}

#[test]
fn a_hub_that_is_not_there_or_falls_silent_is_asked_once() {
    let Case { server, mut options, cache: _cache } = case(&pipeline(), |_| None);
    let files = get(REPOSITORY, &options).unwrap();
    drop(server);
    (options.attempts, options.first_pause) = (100, Duration::from_secs(1));
    // Accepts connections and says nothing.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    options.answer_timeout = Duration::from_millis(200);
    for endpoint in [
        options.endpoint.clone(),
        format!("http://{}", silent.local_addr().unwrap()),
        "http://hub.invalid".into(),
        "no address".into(),
    ] {
        let start = Instant::now();
        let options = HubOptions { endpoint: endpoint.clone(), ..options.clone() };
        assert_eq!(get(REPOSITORY, &options).unwrap(), files, "{endpoint}");
        assert!(start.elapsed() < Duration::from_secs(60), "{endpoint}: {:?}", start.elapsed());
    }
    let message = complaint("other/name", &HubOptions { attempts: 1, ..options });
    for part in ["the hub cannot be reached: ", "`vae/config.json` of revision `main` is not in the cache"] {
        assert!(message.contains(part), "{message}");
    }
}

/// A server whose `main` has moved on to a second commit, and the first one whole in the cache.
fn moved_on(
    fault: impl Fn(&super::test_server::Request) -> Option<Fault> + Send + Sync + 'static,
) -> (Server, HubOptions, tempfile::TempDir, ModelFiles) {
    let Case { server, options, cache } = case(&pipeline(), |_| None);
    let files = get(REPOSITORY, &options).unwrap();
    drop(server);
    let mut newer = pipeline();
    newer[1].1[300] ^= 1;
    let revisions: BTreeMap<_, _> = [("main".to_string(), commit(&"f".repeat(40), &newer))].into();
    let server = Server::start(revisions, fault);
    let options = HubOptions { endpoint: server.endpoint(), ..options };
    (server, options, cache, files)
}

#[test]
fn what_cannot_be_brought_or_kept_leaves_what_is_there() {
    let (_server, options, _cache, files) = moved_on(|request| is_content(request).then_some(Fault::Status(403, "")));
    assert_eq!(get(REPOSITORY, &options).unwrap(), files, "content that is refused");

    let (_server, options, cache, files) = moved_on(|_| None);
    // The content itself, and a folder of contents that takes no new one, whoever asks.
    let blobs = cache.path().join("models--owner--name/blobs");
    for path in [
        files.config.clone().unwrap(),
        files.config.as_ref().unwrap().with_file_name("diffusion_pytorch_model.safetensors"),
    ] {
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
    }
    fs::remove_dir_all(&blobs).unwrap();
    fs::write(&blobs, "").unwrap();
    assert_eq!(get(REPOSITORY, &options).unwrap(), files, "a cache that cannot be written");
}

/// Everything below a folder.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(tree(&path)) } else { found.push(path) }
    }
    found
}

#[cfg(unix)]
#[test]
fn a_cache_with_all_that_is_asked_for_is_not_written() {
    let Case { server: _server, options, cache } = case(&pipeline(), |_| None);
    let files = get(REPOSITORY, &options).unwrap();
    fs::remove_dir_all(cache.path().join(".locks")).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    let before = tree(cache.path());
    before.iter().for_each(|path| File::open(path).unwrap().set_modified(long_ago).unwrap());
    let dated = |path: &PathBuf| (path.clone(), fs::metadata(path).unwrap().modified().unwrap());
    let dates: Vec<_> = before.iter().map(dated).collect();
    assert_eq!(get(REPOSITORY, &options).unwrap(), files);
    assert_eq!(tree(cache.path()).iter().map(dated).collect::<Vec<_>>(), dates);
}

#[test]
fn neither_locks_nor_refs_are_needed() {
    let Case { server: _server, options, cache } = case(&pipeline(), |_| None);
    let repository = cache.path().join("models--owner--name");
    fs::create_dir(&repository).unwrap();
    // Where a folder should be, a file is: nothing can be put there, whoever asks.
    fs::write(cache.path().join(".locks"), "").unwrap();
    fs::write(repository.join("refs"), "").unwrap();
    let files = get(REPOSITORY, &options).unwrap();
    assert!(files.config.as_ref().unwrap().ends_with(format!("{COMMIT}/vae/config.json")));
    crate::checkpoint::Checkpoint::open(&files.weights).unwrap();
}

#[test]
fn without_locks_two_callers_make_one_whole_file() {
    let Case { server: _server, options, cache } =
        case(&pipeline(), |request| is_content(request).then_some(Fault::Stall(Duration::from_millis(100))));
    fs::write(cache.path().join(".locks"), "").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| get(REPOSITORY, &options).unwrap());
        }
    });
    let blobs = cache.path().join("models--owner--name/blobs");
    let content = fs::read(blobs.join(super::test_server::etag(WEIGHTS, &pipeline()[1].1))).unwrap();
    assert!(content == pipeline()[1].1);
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 2);
}

#[test]
fn a_token_of_no_use_is_called_what_it_is() {
    let refused = |fault, token: Option<&str>| {
        let Case { server: _server, mut options, cache: _cache } = case(&pipeline(), move |_| Some(fault));
        options.token = token.map(|token| Token(token.into()));
        complaint(REPOSITORY, &options)
    };
    let said = |status, message| Fault::Page(status, ["X-Error-Message", message]);
    for fault in [
        said(401, "User Access Token \"mine\" is expired"),
        said(403, "OAuth token has EXPIRED"),
        said(400, "Token expired on 2024-01-01"),
        Fault::Page(
            401,
            ["WWW-Authenticate", "Bearer error=\"invalid_token\", error_description=\"The access token expired\""],
        ),
    ] {
        let message = refused(fault, Some("x"));
        assert!(
            message.contains("the token that was sent") && message.contains("has expired: make a new one"),
            "{message}"
        );
    }
    for fault in [
        said(401, "Invalid credentials in Authorization header"),
        said(401, "Invalid username or password."),
        said(401, "Invalid user token."),
        Fault::Page(401, ["WWW-Authenticate", "Bearer error=\"invalid_token\""]),
    ] {
        assert!(refused(fault, Some("x")).contains("the hub does not know the token that was sent"));
        assert!(refused(fault, None).contains("no token was sent"));
    }
    let message = refused(said(403, "Access to this resource is disabled."), None);
    assert!(message.contains("the hub has disabled the repository `owner/name`"), "{message}");
    let message = refused(said(403, "Please enable access to public gated repositories"), Some("x"));
    assert!(message.contains("(403 Forbidden: Please enable access to public gated"), "{message}");
}

#[test]
fn a_login_page_is_called_one() {
    let refused = |fault| {
        let Case { server: _server, options, cache: _cache } = case(&pipeline(), move |_| Some(fault));
        complaint(REPOSITORY, &options)
    };
    let message = refused(Fault::Page(200, ["X-Portal", "1"]));
    assert!(message.contains("it is a page for people, such as the login page of a network"), "{message}");
    let message = refused(Fault::Page(302, ["Location", "https://login.invalid/"]));
    assert!(message.contains("it leads to `login.invalid`, as the login page of a network does"), "{message}");
    assert!(refused(Fault::Page(307, ["Location", "/login"])).contains("more than 5 redirects"));
}

#[test]
fn the_token_follows_the_hub_to_itself_alone() {
    // A mirror may answer with a whole address of its own.
    let server = Server::start(revisions(&pipeline()), |_| None);
    let Case { mut options, cache: _cache, .. } = case(&[], |_| None);
    options.endpoint = server.endpoint();
    options.token = Some(Token("secret".into()));
    get("moved/name", &options).unwrap();
    for request in server.requests() {
        assert_eq!(request.headers.contains_key("authorization"), !is_content(&request), "{request:?}");
    }
}
