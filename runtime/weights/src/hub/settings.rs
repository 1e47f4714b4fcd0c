//! How the hub is reached and where its files are kept, by the variables of Python's hub client and
//! by its rules. What a proxy is set to is in `proxies`.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proxies::Proxies;
use crate::error::{Error, Result};

/// Where models come from unless `HF_ENDPOINT` says otherwise.
pub(super) const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// How long to wait for an answer about a file, unless `HF_HUB_ETAG_TIMEOUT` says otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the next bytes of a file, unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A secret that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How to reach the hub, and where its files are kept: made by [`HubOptions::from_env`], and
/// changed field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubOptions {
    /// The hub's address, `http` or `https`.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Sent to the hub, and to no other host that it sends us to.
    pub token: Option<Token>,
    /// Ask nobody; take what is in the cache.
    pub offline: bool,
    /// Through whom the hub, and where it sends us to, are asked.
    pub proxies: Proxies,
    /// How long to wait for a connection and an answer about a file.
    pub answer_timeout: Duration,
    /// How long to wait for a connection, an answer, or the next bytes of a file's content.
    pub timeout: Duration,
    /// How often in a row a request may fail, without having brought a byte, before it is given up.
    /// Where the model is whole in the cache, questions about its files are asked once.
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
    /// | `HF_HUB_CACHE` | the cache; else what `HUGGINGFACE_HUB_CACHE` names, else `$HF_HOME/hub` |
    /// | `HF_TOKEN` | the token; else `HUGGING_FACE_HUB_TOKEN`, else the file that `HF_TOKEN_PATH` names, else `$HF_HOME/token` |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | `1`: send no token |
    /// | `HF_HUB_OFFLINE`, else `TRANSFORMERS_OFFLINE` | `1`: ask nobody |
    /// | `HF_HUB_ETAG_TIMEOUT`, `HF_HUB_DOWNLOAD_TIMEOUT` | seconds to wait for an answer about a file, and for its content |
    /// | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | proxies, by their names in small letters first |
    ///
    /// In folders and files a leading `~` is the home folder, and `$NAME` and `${NAME}` are
    /// variables.
    ///
    /// # Errors
    /// [`Error::Hub`] if nothing says where the cache is, the token cannot be one, or a time is
    /// none.
    pub fn from_env() -> Result<HubOptions> {
        HubOptions::from_variables(ir::knobs::get, ir::knobs::home_folder(), ir::knobs::any)
    }

    /// [`Self::from_env`] for these variables and this home folder; `mentioned` gives those that a
    /// path mentions.
    pub(super) fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
        mentioned: impl Fn(&str) -> Option<OsString>,
    ) -> Result<HubOptions> {
        let fault = |problem: String| Error::Hub { model: "settings".into(), problem };
        let path = |name: &str| {
            variable(name).filter(|value| !value.is_empty()).map(|value| expanded(value, home.as_deref(), &mentioned))
        };
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let is_set = |value: String| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str());
        let seconds = |name: &str, default: Duration| match text(name) {
            None => Ok(default),
            Some(value) => match value.parse::<u32>() {
                Ok(0) => Ok(default),
                Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
                Err(_) => Err(fault(format!("{name} is `{value}`; expected whole seconds"))),
            },
        };
        let standard = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| home.as_ref().map(|home| home.join(".cache/huggingface")));
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| standard.as_ref().map(|standard| standard.join("hub")))
            .ok_or_else(|| fault("there is no home folder to keep the cache in; set HF_HOME to a folder".into()))?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| standard.map(|standard| standard.join("token")));
        let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(&text).and_then(|token| clean(&token));
        let token = match text("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(is_set) {
            true => None,
            false => named.or_else(|| token_of(&token_file?)),
        };
        if token.as_ref().is_some_and(|token| !token.0.chars().all(|c| c.is_ascii_graphic())) {
            return Err(fault("the token (HF_TOKEN or the token file) has characters that no token has".into()));
        }
        Ok(HubOptions {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
            cache,
            token,
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find_map(&text).is_some_and(is_set),
            proxies: Proxies::from_variables(&variable),
            answer_timeout: seconds("HF_HUB_ETAG_TIMEOUT", ANSWER_TIMEOUT)?,
            timeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT", CONTENT_TIMEOUT)?,
            attempts: 5,
            first_pause: Duration::from_millis(500),
        })
    }
}

/// A token without what an editor or a shell put around or into it.
fn clean(token: &str) -> Option<Token> {
    let token = token.replace(['\r', '\n'], "").trim().to_owned();
    (!token.is_empty()).then_some(Token(token))
}

/// The token in a file, if there is one.
fn token_of(file: &Path) -> Option<Token> {
    match fs::read_to_string(file) {
        Ok(token) => clean(&token),
        Err(cause) => {
            if cause.kind() != ErrorKind::NotFound {
                log::warn!("{}: no token can be read here: {cause}", file.display());
            }
            None
        }
    }
}

/// A path as a shell would read it: `~` in front, `$NAME` and `${NAME}`. What names no variable
/// stays as it is.
fn expanded(path: OsString, home: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let Some(text) = path.to_str() else { return path.into() };
    let mut rest = text;
    let mut whole = OsString::new();
    if let (Some(home), Some(below)) = (home, text.strip_prefix('~'))
        && (below.is_empty() || below.starts_with(std::path::is_separator))
    {
        whole.push(home);
        rest = below;
    }
    while let Some((before, behind)) = rest.split_once('$') {
        whole.push(before);
        let (name, after) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(parts) => parts,
            None => {
                behind.split_at(behind.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(behind.len()))
            }
        };
        match variable(name).filter(|_| !name.is_empty()) {
            Some(value) => {
                whole.push(value);
                rest = after;
            }
            None => {
                whole.push("$");
                rest = behind;
            }
        }
    }
    whole.push(rest);
    whole.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<HubOptions> {
        let variables: BTreeMap<String, OsString> =
            variables.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
        let variable = |name: &str| variables.get(name).cloned();
        HubOptions::from_variables(variable, Some("/home/me".into()), variable)
    }

    #[test]
    fn folders_and_switches_come_from_the_environment() {
        let plain = from(&[]).unwrap();
        assert_eq!(plain.cache, Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!((plain.endpoint.as_str(), &plain.token, plain.offline), (DEFAULT_ENDPOINT, &None, false));
        assert_eq!((plain.answer_timeout, plain.timeout), (ANSWER_TIMEOUT, CONTENT_TIMEOUT));
        let cache = |variables: &[(&str, &str)]| from(variables).unwrap().cache;
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), Path::new("/c"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/o"), ("HF_HOME", "/h")]), Path::new("/o"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/o"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(cache(&[("HF_HUB_CACHE", ""), ("HF_HOME", "")]), plain.cache);
        assert_eq!(cache(&[("HF_HOME", "~/hf")]), Path::new("/home/me/hf/hub"));
        let scratch = [("S", "/scratch"), ("HF_HOME", "$S/${S}$NONE/a$"), ("HF_HUB_CACHE", "~you/$S")];
        assert_eq!(cache(&scratch[..2]), Path::new("/scratch//scratch$NONE/a$/hub"));
        assert_eq!(cache(&scratch), Path::new("~you//scratch"));
        assert_eq!(from(&[("HF_ENDPOINT", "http://m")]).unwrap().endpoint, "http://m");
        for (value, offline) in [("1", true), ("TRUE", true), ("yes", true), ("0", false), ("", false)] {
            for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
                assert_eq!(from(&[(name, value)]).unwrap().offline, offline, "{name}={value}");
            }
        }
        assert!(!from(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).unwrap().offline);
        let times = from(&[("HF_HUB_ETAG_TIMEOUT", "3"), ("HF_HUB_DOWNLOAD_TIMEOUT", "0")]).unwrap();
        assert_eq!((times.answer_timeout, times.timeout), (Duration::from_secs(3), CONTENT_TIMEOUT));
        let message = from(&[("HF_HUB_ETAG_TIMEOUT", "soon")]).unwrap_err().to_string();
        assert!(message.contains("HF_HUB_ETAG_TIMEOUT is `soon`; expected whole seconds"), "{message}");
        let nowhere = HubOptions::from_variables(|_| None, None, |_| None).unwrap_err().to_string();
        assert!(nowhere.contains("set HF_HOME"), "{nowhere}");
    }

    #[test]
    fn a_token_is_found_in_order_and_cleaned() {
        let home = tempfile::tempdir().unwrap();
        let folder = ("HF_HOME", home.path().to_str().unwrap());
        let file = home.path().join("token");
        fs::write(&file, "of-\r\nfile \n\n").unwrap();
        let token = |variables: &[(&str, &str)]| from(variables).unwrap().token.map(|token| token.0);
        assert_eq!(token(&[folder]).as_deref(), Some("of-file"));
        assert_eq!(token(&[folder, ("HF_TOKEN", " mine\n")]).as_deref(), Some("mine"));
        assert_eq!(token(&[folder, ("HUGGING_FACE_HUB_TOKEN", "old")]).as_deref(), Some("old"));
        assert_eq!(token(&[("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", "mine")]).as_deref(), Some("mine"));
        assert_eq!(token(&[("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", "")]).as_deref(), Some("old"));
        assert_eq!(token(&[folder, ("HF_HUB_CACHE", "/c")]).as_deref(), Some("of-file"), "it stays with HF_HOME");
        assert_eq!(token(&[("HF_TOKEN_PATH", file.to_str().unwrap())]).as_deref(), Some("of-file"));
        assert_eq!(token(&[folder, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(token(&[("HF_TOKEN_PATH", folder.1)]), None, "a folder holds no token");
        assert!(from(&[("HF_TOKEN", "a b")]).unwrap_err().to_string().contains("characters that no token has"));
    }
}
