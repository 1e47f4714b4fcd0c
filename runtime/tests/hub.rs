//! The binary and the hub, as a user meets them: a refusal with the model in the cache, proxies,
//! settings by their older names. What is asked and answered in detail is tested in `src/hub`.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use common::{latents_file, model, random, text};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache that has the tiny model whole, as `owner/name`.
fn cache() -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    let repository = cache.path().join("models--owner--name");
    let snapshot = repository.join("snapshots").join(COMMIT);
    fs::create_dir_all(snapshot.join("vae")).unwrap();
    fs::create_dir(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    let files = model(|_| {});
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        fs::copy(files.path().join(name), snapshot.join("vae").join(name)).unwrap();
    }
    cache
}

/// Decodes by a model, with nothing in the environment but these variables and a home folder.
fn decode(model: &str, folder: &Path, variables: &[(&str, &str)]) -> Output {
    let shape = [1, 4, 1, 2, 3];
    latents_file(folder, "z.safetensors", &shape, &random(5, shape.iter().product()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
    command.args(["decode", "--model", model, "--latents", "z.safetensors", "--unscaled", "--output", "x.npy"]);
    command.current_dir(folder).env_clear().env("HOME", folder).envs(variables.iter().copied()).output().unwrap()
}

/// Reads up to the end of a request's head.
fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (vec![], [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Takes connections and does this with each; gives its port.
fn serve(mut with: impl FnMut(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    thread::spawn(move || listener.incoming().flatten().for_each(&mut with));
    port
}

/// A SOCKS proxy that leads to nowhere: what is asked of it, it answers itself with this status.
/// Tells whom it was to reach.
fn socks_proxy() -> (u16, Receiver<String>) {
    let (tell, told) = channel();
    let port = serve(move |mut stream| {
        let mut read = |count: usize| {
            let mut bytes = vec![0; count];
            stream.read_exact(&mut bytes).unwrap();
            (bytes, stream.try_clone().unwrap())
        };
        let (start, mut writer) = read(2);
        let target = if start[0] == 5 {
            read(start[1].into());
            writer.write_all(&[5, 0]).unwrap();
            let kind = read(4).0[3];
            let host = match kind {
                3 => {
                    let length = read(1).0[0];
                    String::from_utf8(read(length.into()).0).unwrap()
                }
                _ => read(4).0.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
            };
            read(2);
            writer.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
            host
        } else {
            // Port, address, user and, where the address is none, a host; each of the last two ends
            // with a zero.
            let address = read(6).0;
            let mut word = || {
                let letters = std::iter::from_fn(|| Some(read(1).0[0]).filter(|byte| *byte != 0));
                String::from_utf8(letters.collect()).unwrap()
            };
            word();
            let host = match address[2..] {
                [0, 0, 0, _] => word(),
                _ => address[2..].iter().map(u8::to_string).collect::<Vec<_>>().join("."),
            };
            writer.write_all(&[0, 90, 0, 0, 0, 0, 0, 0]).unwrap();
            host
        };
        read_head(&mut writer);
        writer.write_all(b"HTTP/1.1 404 No\r\nX-Error-Code: RepoNotFound\r\nContent-Length: 0\r\n\r\n").unwrap();
        tell.send(target).unwrap();
    });
    (port, told)
}

#[test]
fn a_refusal_is_one_warning_where_the_model_is_in_the_cache() {
    let cache = cache();
    for (answer, words) in [
        ("401 Unauthorized\r\nX-Error-Message: User Access Token is expired", "has expired"),
        ("403 Forbidden\r\nX-Error-Code: GatedRepo", "is gated"),
        ("404 Not Found\r\nX-Error-Code: RepoNotFound", "shows no repository"),
        ("503 Busy", "it answers 503"),
        ("200 OK\r\nContent-Type: text/html", "login page"),
        ("302 Found\r\nLocation: http://portal.invalid/", "login page"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let reply = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let port = serve(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(reply.as_bytes());
        });
        let endpoint = format!("http://127.0.0.1:{port}");
        let variables = [
            ("HF_ENDPOINT", endpoint.as_str()),
            ("HUGGINGFACE_HUB_CACHE", cache.path().to_str().unwrap()),
            ("HUGGING_FACE_HUB_TOKEN", "hf_x\n"),
        ];
        let output = decode("owner/name", folder.path(), &variables);
        let said = text(&output.stderr);
        assert!(output.status.success() && folder.path().join("x.npy").exists(), "{answer}: {said}");
        assert!(
            said.lines().count() == 1 && said.contains("taking the model as it is in the cache"),
            "{answer}: {said}"
        );
        assert!(said.contains(words), "{answer}: {said}");
        let output = decode("owner/other", folder.path(), &variables);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).starts_with("error: owner/other: "), "{}", text(&output.stderr));
    }
}

#[test]
fn a_folder_of_the_cache_is_a_model() {
    let (cache, folder) = (cache(), tempfile::tempdir().unwrap());
    let model: PathBuf = cache.path().join("models--owner--name");
    let output = decode(model.to_str().unwrap(), folder.path(), &[("HF_HUB_OFFLINE", "1")]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn socks_proxies_are_gone_through() {
    let folder = tempfile::tempdir().unwrap();
    for (scheme, variable, endpoint, target) in [
        // The proxy finds the host: nobody else can.
        ("socks5h", "ALL_PROXY", "http://hub.invalid", "hub.invalid"),
        ("socks5h", "http_proxy", "http://hub.invalid:99", "hub.invalid"),
        ("socks4a", "HTTP_PROXY", "http://hub.invalid", "hub.invalid"),
        ("socks5", "all_proxy", "http://127.0.0.1:9", "127.0.0.1"),
        ("socks4", "ALL_PROXY", "http://127.0.0.1:9", "127.0.0.1"),
        ("socks", "ALL_PROXY", "http://127.0.0.1:9", "127.0.0.1"),
    ] {
        let (port, told) = socks_proxy();
        let proxy = format!("{scheme}://127.0.0.1:{port}");
        let output = decode("owner/name", folder.path(), &[("HF_ENDPOINT", endpoint), (variable, &proxy)]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{scheme}: {said}");
        assert!(said.contains("the hub shows no repository `owner/name`"), "{scheme}: {said}");
        assert_eq!(told.recv().unwrap(), target, "{scheme}");
    }
}

#[test]
fn a_proxy_is_never_gone_around() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = channel();
    let port = serve(move |_| tell.send(()).unwrap());
    let endpoint = format!("http://127.0.0.1:{port}");
    // A port that was free a moment ago, and proxies that are none.
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let refused = format!("socks5h://me:secret@127.0.0.1:{closed}");
    for (proxy, words) in [
        (refused.as_str(), "through the proxy socks5h://127.0.0.1"),
        ("socks6://me:secret@127.0.0.1:1080", "ALL_PROXY names a proxy of a kind that cannot be used, `socks6://`"),
        ("socks5://", "ALL_PROXY names no proxy that can be used"),
    ] {
        let output = decode("owner/name", folder.path(), &[("HF_ENDPOINT", &endpoint), ("ALL_PROXY", proxy)]);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(words) && !said.contains("secret"), "{said}");
        assert!(told.try_recv().is_err(), "{proxy}: the hub was asked directly");
    }
    let direct = [("HF_ENDPOINT", endpoint.as_str()), ("ALL_PROXY", refused.as_str()), ("NO_PROXY", "127.0.0.1")];
    decode("owner/name", folder.path(), &direct);
    assert!(told.try_recv().is_ok());
}
