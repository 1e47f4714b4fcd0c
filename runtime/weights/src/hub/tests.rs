//! The hub against a server on this machine that speaks its protocol, well and badly.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use safetensors::Dtype;
use safetensors::tensor::TensorView as Tensor;
use tempfile::TempDir;

use super::Download;
use super::proxies::Proxies;
use super::settings::{HubOptions, Token};
use super::test_server::{Commit, Fault, REPOSITORY, Request, Server, etag};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::model::{ModelFiles, ModelSpec, WeightFiles, resolve, resolve_config};

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(super) const WEIGHTS: &str = "vae/diffusion_pytorch_model.safetensors";
/// Long enough for several reads.
const ELEMENTS: usize = 200_000;

/// A weights file with one tensor of so many values.
fn weights(tensor: &str, dtype: Dtype, elements: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..elements * dtype.bitsize() / 8).map(|i| (i % 61) as u8).collect();
    let view = Tensor::new(dtype, vec![elements], &bytes).unwrap();
    safetensors::serialize([(tensor, view)], None).unwrap()
}

pub(super) fn commit(hash: &str, files: &[(&str, Vec<u8>)]) -> Commit {
    Commit {
        hash: hash.into(),
        files: files.iter().map(|(name, content)| (name.to_string(), content.clone())).collect(),
    }
}

pub(super) fn revisions(files: &[(&str, Vec<u8>)]) -> BTreeMap<String, Commit> {
    [("main".to_string(), commit(COMMIT, files))].into()
}

/// A pipeline with its VAE.
pub(super) fn pipeline() -> Vec<(&'static str, Vec<u8>)> {
    vec![("vae/config.json", b"{}".to_vec()), (WEIGHTS, weights("t", Dtype::F32, ELEMENTS))]
}

/// A server with [`pipeline`], and options that use it with a fresh cache.
pub(super) struct Case {
    pub(super) server: Server,
    pub(super) options: HubOptions,
    pub(super) cache: TempDir,
}

pub(super) fn case(
    files: &[(&str, Vec<u8>)],
    fault: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static,
) -> Case {
    let server = Server::start(revisions(files), fault);
    let cache = tempfile::tempdir().unwrap();
    let options = HubOptions {
        endpoint: server.endpoint(),
        cache: cache.path().into(),
        token: None,
        offline: false,
        proxies: Proxies::default(),
        answer_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        attempts: 3,
        first_pause: Duration::from_millis(1),
    };
    Case { server, options, cache }
}

pub(super) fn get(text: &str, options: &HubOptions) -> Result<ModelFiles> {
    resolve(&ModelSpec::parse(text, None)?, options, &mut |_| ControlFlow::Continue(()))
}

pub(super) fn complaint(text: &str, options: &HubOptions) -> String {
    get(text, options).unwrap_err().to_string()
}

#[test]
fn a_configuration_is_fetched_without_weights() {
    let Case { server, options, cache: _cache } = case(&[("config.json", b"{}".to_vec())], |_| None);
    let config = |text: &str, named: Option<&Path>| {
        let spec = ModelSpec::parse(text, named).unwrap();
        resolve_config(&spec, &options, &mut |_| ControlFlow::Continue(()))
    };
    let found = config(REPOSITORY, None).unwrap();
    assert_eq!(fs::read_to_string(&found).unwrap(), "{}");
    assert_eq!(server.log(), ["HEAD vae/config.json", "HEAD config.json", "GET config.json"]);
    let before = server.log().len();
    assert_eq!(config("nobody/nothing", Some(&found)).unwrap(), found);
    assert_eq!(server.log().len(), before, "nothing is asked if the configuration is there");
    let message = config(REPOSITORY, Some(Path::new("nowhere.json"))).unwrap_err().to_string();
    assert!(message.contains("nowhere.json: no such file"), "{message}");

    let Case { server: _server, options, .. } = case(&[("readme.md", vec![])], |_| None);
    let spec = ModelSpec::parse(REPOSITORY, None).unwrap();
    let message = resolve_config(&spec, &options, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(message.contains("vae/config.json"), "{message}");
}

/// Files under `blobs`.
fn blobs(cache: &Path) -> Vec<String> {
    let folder = cache.join("models--owner--name/blobs");
    let mut names: Vec<String> = fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

pub(super) fn is_content(request: &Request) -> bool {
    request.path.starts_with("/cdn/")
}

#[test]
fn a_model_is_fetched_once_and_then_found_without_the_hub() {
    let Case { server, mut options, cache } = case(&pipeline(), |_| None);
    let mut seen: Vec<(String, u64, u64)> = vec![];
    let spec = ModelSpec::parse(REPOSITORY, None).unwrap();
    let files = resolve(&spec, &options, &mut |download| {
        seen.push((download.file.into(), download.bytes_done, download.bytes_total));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(
        server.log(),
        [
            "HEAD vae/config.json",
            "GET vae/config.json",
            &format!("HEAD {WEIGHTS}"),
            &format!("GET {WEIGHTS}"),
            &format!("GET /cdn/{COMMIT}/{WEIGHTS}"),
        ]
    );
    let total = pipeline()[1].1.len() as u64;
    assert!(seen.contains(&(WEIGHTS.into(), 0, total)) && seen.contains(&(WEIGHTS.into(), total, total)));
    assert!(seen.iter().filter(|(file, ..)| file == WEIGHTS).is_sorted_by_key(|(_, done, _)| done));
    assert_eq!(fs::read_to_string(files.config.as_ref().unwrap()).unwrap(), "{}");
    let snapshot = cache.path().join("models--owner--name/snapshots").join(COMMIT);
    assert_eq!(files.weights, WeightFiles::One(snapshot.join(WEIGHTS)));
    assert_eq!(Checkpoint::open(&files.weights).unwrap().to_f32("t").unwrap().len(), ELEMENTS);
    #[cfg(unix)]
    assert!(fs::read_link(snapshot.join(WEIGHTS)).unwrap().starts_with("../../../blobs"));

    // Again: one question whether `main` has moved; of a commit's files none.
    let before = server.log().len();
    assert_eq!(get(REPOSITORY, &options).unwrap(), files);
    assert_eq!(server.log()[before..], ["HEAD vae/config.json"]);
    assert_eq!(get(&format!("{REPOSITORY}@{COMMIT}"), &options).unwrap(), files);
    assert_eq!(server.log().len(), before + 1);

    drop(server);
    assert_eq!(get(REPOSITORY, &options).unwrap(), files, "the hub cannot be reached");
    options.offline = true;
    assert_eq!(get(REPOSITORY, &options).unwrap(), files);
    assert_eq!(get(&format!("{REPOSITORY}@{COMMIT}"), &options).unwrap(), files);
    let message = complaint("owner/name@v2", &options);
    assert!(message.contains("OFFLINE) is set, and `vae/config.json` of revision `v2`"), "{message}");
    fs::remove_file(snapshot.join(WEIGHTS)).unwrap();
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains(&format!("`{WEIGHTS}` of revision `main` is not in the cache")), "{message}");
    options.offline = false;
    let message = complaint(REPOSITORY, &options);
    assert!(
        message.contains("the hub cannot be reached") && message.contains("run once with a connection"),
        "{message}"
    );
}

#[test]
fn a_vae_at_the_top_shards_and_half_precision_are_found() {
    let index = r#"{"weight_map": {"a": "s-1.safetensors", "b": "s-2.safetensors"}}"#;
    let sharded = [
        ("config.json", b"{}".to_vec()),
        ("diffusion_pytorch_model.safetensors.index.json", index.into()),
        ("s-1.safetensors", weights("a", Dtype::BF16, 3)),
        ("s-2.safetensors", weights("b", Dtype::F16, 3)),
    ];
    let Case { server, mut options, cache: _cache } = case(&sharded, |_| None);
    let files = get(REPOSITORY, &options).unwrap();
    assert_eq!(Checkpoint::open(&files.weights).unwrap().len(), 2);
    drop(server);
    options.offline = true;
    assert_eq!(get(REPOSITORY, &options).unwrap(), files);

    let Case { server, options, cache: _cache } = case(&sharded[..3], |_| None);
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains("`s-2.safetensors` is not in the repository, but"), "{message}");
    drop(server);

    let half = [
        ("vae/config.json", b"{}".to_vec()),
        ("vae/diffusion_pytorch_model.fp16.safetensors", weights("a", Dtype::F16, 3)),
        ("vae/diffusion_pytorch_model.bf16.safetensors", weights("a", Dtype::BF16, 3)),
    ];
    let Case { server: _server, options, cache: _cache } = case(&half, |_| None);
    let WeightFiles::One(path) = get(REPOSITORY, &options).unwrap().weights else { panic!("no index is there") };
    assert!(path.ends_with(half[1].0));

    let own = tempfile::NamedTempFile::new().unwrap();
    let spec = ModelSpec::parse(REPOSITORY, Some(own.path())).unwrap();
    let files = resolve(&spec, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((files.config, files.weights), (Some(own.path().into()), WeightFiles::One(path)));
}

#[test]
fn an_index_names_no_file_outside_its_folder() {
    let index = r#"{"weight_map": {"a": "../../../x.safetensors"}}"#;
    let files = [("config.json", b"{}".to_vec()), ("diffusion_pytorch_model.safetensors.index.json", index.into())];
    let Case { server, options, cache: _cache } = case(&files, |_| None);
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains("../../../x.safetensors") && message.contains("without any folder"), "{message}");
    assert!(server.log().iter().all(|request| !request.contains("x.safetensors")));
}

#[test]
fn a_revision_is_fetched_beside_another_and_a_branch_moves() {
    let other = "f".repeat(40);
    let mut all = revisions(&pipeline());
    let newer = vec![("vae/config.json", b"{\"a\": 1}".to_vec()), pipeline()[1].clone()];
    all.insert("refs/pr/1".into(), commit(&other, &newer));
    let server = Server::start(all, |_| None);
    let cache = tempfile::tempdir().unwrap();
    let options = HubOptions { endpoint: server.endpoint(), ..case(&[], |_| None).options };
    let options = HubOptions { cache: cache.path().into(), ..options };
    let main = get(REPOSITORY, &options).unwrap();
    let before = server.log().len();
    let pull = get(&format!("{REPOSITORY}@refs/pr/1"), &options).unwrap();
    assert_ne!(main.config, pull.config);
    assert_eq!(fs::read_to_string(pull.config.as_ref().unwrap()).unwrap(), "{\"a\": 1}");
    // The same weights are not fetched again.
    assert!(!server.log()[before..].contains(&format!("GET {WEIGHTS}")));
    let message = complaint("owner/name@v9", &options);
    assert_eq!(message, "owner/name@v9: `owner/name` has no branch, tag or commit `v9`");
}

#[test]
fn the_token_goes_to_the_hub_alone_and_through_a_renamed_repository() {
    let Case { server, mut options, cache: _cache } = case(&pipeline(), |_| None);
    options.token = Some(Token("secret".into()));
    get("old/name", &options).unwrap();
    let requests = server.requests();
    assert!(requests.iter().any(is_content));
    for request in requests {
        let expected = (!is_content(&request)).then_some("Bearer secret");
        assert_eq!(request.headers.get("authorization").map(String::as_str), expected, "{request:?}");
        assert_eq!(request.headers["accept-encoding"], "identity", "compressed content has another length");
    }
    assert!(!format!("{options:?}").contains("secret"));
}

#[test]
fn refusals_are_told_in_words() {
    let refused = |status, code, token: Option<&str>| {
        let Case { server: _server, mut options, cache } =
            case(&pipeline(), move |_| Some(Fault::Status(status, code)));
        options.token = token.map(|token| Token(token.into()));
        let message = complaint(REPOSITORY, &options);
        assert!(message.starts_with("owner/name: ") && !message.contains('\n'), "{message}");
        assert_eq!(blobs(cache.path()), [""; 0]);
        message
    };
    let message = refused(404, "RepoNotFound", None);
    assert!(message.contains("no path of this name here, and the hub shows no repository `owner/name`"), "{message}");
    assert!(message.contains("set HF_TOKEN"), "{message}");
    assert!(refused(401, "RepoNotFound", Some("x")).contains("the token that was sent"));
    assert!(refused(401, "", None).contains("refuses access (401"));
    let message = refused(403, "GatedRepo", None);
    assert!(message.contains("is gated: ask for access") && message.contains("set HF_TOKEN"), "{message}");
    assert!(refused(404, "RevisionNotFound", None).contains("no branch, tag or commit `main`"));
    let message = refused(404, "EntryNotFound", None);
    assert!(
        message.contains("no VAE in `owner/name`") && message.contains("`vae/config.json` is missing"),
        "{message}"
    );
    assert!(refused(503, "", None).contains("the hub cannot be reached: it answers 503"));
    assert!(refused(418, "", None).contains("the answer is not a hub's: it answers 418"));
}

#[test]
fn what_only_the_content_is_refused_with_is_not_kept() {
    let Case { server: _server, options, cache } =
        case(&pipeline(), |request| is_content(request).then_some(Fault::Status(403, "")));
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains(&format!("`{WEIGHTS}`: the hub refuses access (403")), "{message}");
    assert!(!blobs(cache.path()).contains(&etag(WEIGHTS, &pipeline()[1].1)));
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    let count = AtomicUsize::new(0);
    let Case { server, options, cache: _cache } = case(&pipeline(), move |request| {
        let first = is_content(request) && count.fetch_add(1, Ordering::SeqCst) < 4;
        first.then_some(Fault::Cut(100_000))
    });
    let files = get(REPOSITORY, &options).unwrap();
    Checkpoint::open(&files.weights).unwrap();
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| is_content(request))
        .map(|r| r.headers.get("range").cloned())
        .collect();
    let expected = [None, Some(100_000), Some(200_000), Some(300_000), Some(400_000)];
    assert_eq!(ranges, expected.map(|start| start.map(|start| format!("bytes={start}-"))));
}

#[test]
fn a_transfer_that_breaks_for_good_keeps_its_bytes_for_the_next_call() {
    let open = std::sync::Arc::new(AtomicUsize::new(0));
    let gate = open.clone();
    let Case { server, options, cache } = case(&pipeline(), move |request| {
        let start = request.headers.contains_key("range");
        (is_content(request) && gate.load(Ordering::SeqCst) == 0).then_some(Fault::Cut(if start { 0 } else { 1000 }))
    });
    let total = pipeline()[1].1.len();
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains(&format!("`{WEIGHTS}`: the download broke off 3 times in a row")), "{message}");
    assert!(message.contains(&format!("1000 of {total} bytes are here and kept")), "{message}");
    assert!(blobs(cache.path()).contains(&format!("{}.incomplete", etag(WEIGHTS, &pipeline()[1].1))));
    open.store(1, Ordering::SeqCst);
    get(REPOSITORY, &options).unwrap();
    assert_eq!(server.requests().last().unwrap().headers["range"], "bytes=1000-");
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let count = AtomicUsize::new(0);
    let Case { server: _server, options, cache: _cache } = case(&pipeline(), move |request| {
        let first = is_content(request) && count.fetch_add(1, Ordering::SeqCst) == 0;
        Some(if first { Fault::Cut(100_000) } else { Fault::NoRange })
    });
    Checkpoint::open(&get(REPOSITORY, &options).unwrap().weights).unwrap();
}

#[test]
fn damaged_content_is_asked_for_again_and_never_kept() {
    for (fault, words) in
        [(Fault::Corrupt, "its SHA-256 is"), (Fault::Longer(3), "bytes were announced, 800083 are sent")]
    {
        let Case { server, options, cache } = case(&pipeline(), move |request| is_content(request).then_some(fault));
        let message = complaint(REPOSITORY, &options);
        let words = words.replace("800083", &(pipeline()[1].1.len() + 3).to_string());
        assert!(message.contains(&words) && message.contains("nothing was kept"), "{message}");
        assert_eq!(server.requests().iter().filter(|request| is_content(request)).count(), 2);
        assert!(!blobs(cache.path()).contains(&etag(WEIGHTS, &pipeline()[1].1)));
    }
    // A small file has no checksum; its length has to be right.
    let Case { server: _server, options, cache } =
        case(&pipeline(), |request| (request.method == "GET").then_some(Fault::Longer(1)));
    assert!(complaint(REPOSITORY, &options).contains("`vae/config.json`: what arrived is not the file"));
    assert!(!blobs(cache.path()).contains(&etag("vae/config.json", b"{}")));
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let start = Instant::now();
    let Case { server: _server, mut options, cache: _cache } =
        case(&pipeline(), |request| is_content(request).then_some(Fault::Stall(Duration::from_secs(2))));
    options.timeout = Duration::from_millis(100);
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains("timeout") && message.contains(WEIGHTS), "{message}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn what_is_no_hub_is_said_to_be_none() {
    let Case { server: _server, mut options, cache: _cache } = case(&pipeline(), |_| Some(Fault::NoHub));
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains("no header x-repo-commit") && message.contains("HF_ENDPOINT"), "{message}");
    for endpoint in ["", "mirror", "ftp://mirror", "http://", "http:// x"] {
        options.endpoint = endpoint.into();
        let message = complaint(REPOSITORY, &options);
        assert!(message.contains("no http or https address"), "{endpoint}: {message}");
    }
}

#[test]
fn a_caller_may_stop_and_go_on_later() {
    let Case { server: _server, options, cache: _cache } = case(&pipeline(), |_| None);
    let spec = ModelSpec::parse(REPOSITORY, None).unwrap();
    let mut stop_inside = |download: Download<'_>| {
        let inside = download.file == WEIGHTS && download.bytes_done > 0;
        if inside { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert!(matches!(resolve(&spec, &options, &mut stop_inside), Err(Error::Interrupted)));
    let mut first = None;
    resolve(&spec, &options, &mut |download| {
        first.get_or_insert(download.bytes_done);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(first.unwrap() > 0, "the second call starts where the first stopped");
}

#[test]
fn a_ref_that_names_no_commit_leads_nowhere() {
    let Case { server, mut options, cache } = case(&pipeline(), |_| None);
    get(REPOSITORY, &options).unwrap();
    drop(server);
    options.offline = true;
    let repository = cache.path().join("models--owner--name");
    let (outside, decoy) = (tempfile::tempdir().unwrap(), repository.join("snapshots/other"));
    for folder in [outside.path(), &decoy] {
        fs::create_dir_all(folder.join("vae")).unwrap();
        fs::write(folder.join("vae/config.json"), "{}").unwrap();
        fs::write(folder.join(WEIGHTS), "").unwrap();
    }
    let through_commit = format!("{COMMIT}/../other");
    for commit in ["", "other", "../snapshots/other", "\0", outside.path().to_str().unwrap()] {
        fs::write(repository.join("refs/main"), commit).unwrap();
        let message = complaint(REPOSITORY, &options);
        assert!(message.contains("of revision `main` is not in the cache"), "{commit}: {message}");
    }
    fs::write(repository.join("refs/main"), through_commit).unwrap();
    let files = get(REPOSITORY, &options).unwrap();
    assert!(files.config.as_ref().unwrap().ends_with(format!("{COMMIT}/vae/config.json")), "{files:?}");
}

#[test]
fn two_callers_fetch_a_file_once() {
    let Case { server, options, cache: _cache } =
        case(&pipeline(), |request| is_content(request).then_some(Fault::Stall(Duration::from_millis(200))));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| get(REPOSITORY, &options).unwrap());
        }
    });
    assert_eq!(server.requests().iter().filter(|request| is_content(request)).count(), 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let Case { server: _server, mut options, cache } = case(&pipeline(), |_| None);
    let blocked = cache.path().join("file");
    fs::write(&blocked, "").unwrap();
    options.cache = blocked.clone();
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains(&blocked.display().to_string()) && message.contains("HF_HUB_CACHE"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let Case { server: _server, options, cache } = case(&pipeline(), |_| None);
    let blobs = cache.path().join("models--owner--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", etag(WEIGHTS, &pipeline()[1].1)));
    std::os::unix::fs::symlink("/dev/full", partial).unwrap();
    let message = complaint(REPOSITORY, &options);
    assert!(message.contains("no space left for") && message.contains("HF_HUB_CACHE"), "{message}");
}
