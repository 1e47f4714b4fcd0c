//! Every environment variable that Tessera reads, declared once: its name, what it takes, what it
//! does. `tessera knobs` lists them.
//!
//! Nothing else of ours reads the environment (`tests/environment.rs` looks), folders that follow
//! from it included; what libraries and the system read for us, and what we leave to them, is
//! declared here too. So this table is all there is. It stands in this crate because every other
//! one stands on it. What a value means, and what is wrong with one, is the reader's
//! to say. Programs that are started get the whole environment and read what they will: ffmpeg,
//! Python, pip, plugins.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Whose variable it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Ours, for whoever runs the program.
    Tessera,
    /// Ours, for whoever changes it: tests alone read it.
    Tests,
    /// Others' convention, which we follow.
    Convention,
}

/// A variable.
#[derive(Debug, PartialEq, Eq)]
pub struct Knob {
    /// Its name.
    pub name: &'static str,
    /// Whose it is.
    pub origin: Origin,
    /// What it takes.
    pub takes: &'static str,
    /// What it does, and what holds without it.
    pub doc: &'static str,
}

/// Declares each knob as a constant, and the table of all.
macro_rules! knobs {
    ($($origin:ident $constant:ident = $name:literal, $takes:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub const $constant: Knob = Knob { name: $name, origin: Origin::$origin, takes: $takes, doc: $doc };
        )*
        /// All of them, ours first.
        pub const ALL: &[Knob] = &[$($constant),*];
    };
}

knobs! {
    Tessera ISA = "TESSERA_ISA", "avx512, avx2 or portable",
        "The instruction set of compiled code; else the best that this CPU has.";
    Tessera DOT_PRODUCTS = "TESSERA_DOT_PRODUCTS", "absent, slow or fast",
        "What is assumed of the CPU's dot products of bf16, by which convolutions may be computed; else by what is \
         known of it.";
    Tessera PJRT_PLUGIN = "TESSERA_PJRT_PLUGIN", "cpu, tpu, cuda or a path",
        "The PJRT plugin where --plugin names none; tests of plugins run where it names one for CPUs.";
    Tessera CACHE_DIR = "TESSERA_CACHE_DIR", "a folder",
        "Where compiled programs of PJRT plugins are kept; else tessera/programs in your folder of caches.";
    Tessera GUARD_PAGES = "TESSERA_GUARD_PAGES", "1",
        "Every buffer of native code ends at an inaccessible page, so that code that leaves its buffers ends the \
         process. Slow.";
    Tests LIBTPU = "TESSERA_LIBTPU", "a path",
        "The libtpu.so that tests compile for TPUs with; without it they are skipped.";
    Tests TESTS_MAY_LACK = "TESSERA_TESTS_MAY_LACK", "words: plugin, libtpu, torch, ffmpeg, avx512, ...",
        "Where CI is set, the needs for want of which tests may be skipped; any other skip fails.";
    Tests BLESS = "TESSERA_BLESS", "1",
        "Filetests and the op reference take what is found for what is expected.";
    Tests PYTHON = "TESSERA_PYTHON", "a path",
        "The Python with torch and diffusers that tools/taps.py is tested with; else `python3`. Without those the test \
         is skipped.";
    Convention PROPTEST_CASES = "PROPTEST_CASES", "a number",
        "How many random cases each property test runs; else each its own few. PROPTEST_RNG_SEED chooses others.";
    Convention RUST_LOG = "RUST_LOG", "a filter",
        "What to log on stderr, by crate, in place of --log.";
    Convention XLA_FLAGS = "XLA_FLAGS", "flags",
        "For the compilers of PJRT plugins, which read it themselves.";
    Convention TMPDIR = "TMPDIR", "a folder",
        "Where tensors wait on disk; else /var/tmp, or where the system has temporary files.";
    Convention HF_ENDPOINT = "HF_ENDPOINT", "a URL",
        "The hub, or a mirror of it.";
    Convention HF_HOME = "HF_HOME", "a folder",
        "The hub's token and cache; else huggingface in your folder of caches. Here and in the next ones `~` and $NAME \
         are read.";
    Convention HF_HUB_CACHE = "HF_HUB_CACHE", "a folder",
        "The cache of models from the hub; else hub in HF_HOME.";
    Convention HUGGINGFACE_HUB_CACHE = "HUGGINGFACE_HUB_CACHE", "a folder",
        "The older name of HF_HUB_CACHE, read where that is not set.";
    Convention HF_TOKEN = "HF_TOKEN", "a token",
        "For models of the hub that are not for everyone; else the file that HF_TOKEN_PATH names, or token in HF_HOME.";
    Convention HUGGING_FACE_HUB_TOKEN = "HUGGING_FACE_HUB_TOKEN", "a token",
        "The older name of HF_TOKEN, read where that is not set.";
    Convention HF_TOKEN_PATH = "HF_TOKEN_PATH", "a file",
        "What holds the token.";
    Convention HF_HUB_DISABLE_IMPLICIT_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1",
        "Send no token.";
    Convention HF_HUB_OFFLINE = "HF_HUB_OFFLINE", "1",
        "Ask nobody: what is in the cache must do.";
    Convention TRANSFORMERS_OFFLINE = "TRANSFORMERS_OFFLINE", "1",
        "As HF_HUB_OFFLINE, where that is not set.";
    Convention HF_HUB_ETAG_TIMEOUT = "HF_HUB_ETAG_TIMEOUT", "seconds",
        "How long the hub may take to answer a question about a file; else 10.";
    Convention HF_HUB_DOWNLOAD_TIMEOUT = "HF_HUB_DOWNLOAD_TIMEOUT", "seconds",
        "How long the next bytes of a file may take to come; else 30.";
    Convention LOWER_HTTPS_PROXY = "https_proxy", "a URL",
        "The proxy to https addresses, which are the hub's: http://, https://, socks4://, socks4a://, socks5:// or \
         socks5h://.";
    Convention HTTPS_PROXY = "HTTPS_PROXY", "a URL",
        "The same, where https_proxy is not set.";
    Convention LOWER_HTTP_PROXY = "http_proxy", "a URL",
        "The proxy to http addresses, such as of a mirror.";
    Convention HTTP_PROXY = "HTTP_PROXY", "a URL",
        "The same, where http_proxy is not set.";
    Convention LOWER_ALL_PROXY = "all_proxy", "a URL",
        "The proxy to addresses that have none of their own.";
    Convention ALL_PROXY = "ALL_PROXY", "a URL",
        "The same, where all_proxy is not set.";
    Convention LOWER_NO_PROXY = "no_proxy", "hosts",
        "Who is asked without a proxy: hosts and all below them, addresses, networks, or `*`, with commas between.";
    Convention NO_PROXY = "NO_PROXY", "hosts",
        "The same, where no_proxy is not set.";
    Convention SSL_CERT_FILE = "SSL_CERT_FILE", "a file",
        "The certificates that are trusted; else the system's. On Linux and its like.";
    Convention SSL_CERT_DIR = "SSL_CERT_DIR", "folders",
        "Folders of certificates that are trusted; else the system's. On Linux and its like.";
    Convention XDG_CACHE_HOME = "XDG_CACHE_HOME", "a folder",
        "Your folder of caches; else .cache in your home folder.";
    Convention XDG_DATA_HOME = "XDG_DATA_HOME", "a folder",
        "Your folder of data, where installed plugins are; else .local/share in your home folder.";
    Convention HOME = "HOME", "a folder",
        "Your home folder; else the one that the system has for you.";
    Convention PATH = "PATH", "folders",
        "Where ffmpeg, ffprobe and Python are looked for. Like all that is started they get the whole environment.";
    Convention LD_LIBRARY_PATH = "LD_LIBRARY_PATH", "folders",
        "Where the system looks for libraries that a plugin needs.";
    Convention RAYON_NUM_THREADS = "RAYON_NUM_THREADS", "a number",
        "Threads that read and compare tensors; else as many as the system offers. Those that compute follow \
         --threads.";
    Convention RAYON_RS_NUM_CPUS = "RAYON_RS_NUM_CPUS", "a number",
        "The older name of RAYON_NUM_THREADS, which comes before it.";
    Convention RUST_MIN_STACK = "RUST_MIN_STACK", "bytes",
        "The stack of threads that do not ask for one of their own.";
    Convention RUST_BACKTRACE = "RUST_BACKTRACE", "1 or full",
        "Whether a panic, which would be a fault of this program, says where it came from.";
    Convention NO_COLOR = "NO_COLOR", "1",
        "No colours, in messages, help and progress.";
    Convention CLICOLOR = "CLICOLOR", "0",
        "No colours unless CLICOLOR_FORCE asks for them.";
    Convention CLICOLOR_FORCE = "CLICOLOR_FORCE", "1",
        "Colours also where nobody looks.";
    Convention TERM = "TERM", "a name",
        "What the terminal can do: `dumb` is without colours and progress.";
    Convention COLORTERM = "COLORTERM", "a word",
        "Which colours the terminal has.";
    Convention CI = "CI", "true",
        "Tests that would be skipped fail; colours also where the terminal does not promise any.";
    Convention LANG = "LANG", "a locale",
        "Whether the terminal shows more than ASCII; with LC_ALL and LC_CTYPE before it.";
    Convention COLUMNS = "COLUMNS", "a number",
        "The width of help where there is no terminal to ask.";
    Convention LINES = "LINES", "a number",
        "The height of help where there is no terminal to ask.";
    Convention INSTA_UPDATE = "INSTA_UPDATE", "always or no",
        "What tests of snapshots do with new ones.";
}

/// What libraries read for those who search them for faults, many of a kind: how the names begin,
/// and who reads them.
pub const FOR_LIBRARIES: &[(&str, &str)] = &[
    ("RS_H264_", "the H.264 codec"),
    ("RFF_", "the H.264 codec"),
    ("GRAVIOLA_", "encryption of connections"),
    ("PERF_BUILDID_DIR", "the code generator, for `perf`"),
];

impl Knob {
    /// Its value; an empty one is none.
    pub fn get(&self) -> Option<OsString> {
        env::var_os(self.name).filter(|value| !value.is_empty())
    }

    /// Its value, if that is Unicode.
    pub fn text(&self) -> Option<String> {
        self.get()?.into_string().ok()
    }

    /// Whether its value may hold a secret: a token, or the password of a proxy.
    pub fn is_secret(&self) -> bool {
        let is_proxy = self.takes == "a URL" && self.name.to_ascii_uppercase().ends_with("_PROXY");
        self.takes == "a token" || is_proxy
    }

    /// Whether it is set to `1`.
    pub fn is_on(&self) -> bool {
        self.get().is_some_and(|value| value == "1")
    }
}

/// The value of the knob of this name, which must be declared here; an empty one is none.
pub fn get(name: &str) -> Option<OsString> {
    let knob = ALL.iter().find(|knob| knob.name == name);
    debug_assert!(knob.is_some(), "{name} is no knob");
    knob?.get()
}

/// The value of any variable, for a folder's name that mentions it; an empty one is a value.
pub fn any(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// The user's home folder: what [`HOME`] names, or else the system.
pub fn home_folder() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The user's folder of caches: what [`XDG_CACHE_HOME`] names, or else the custom of the system.
pub fn cache_folder() -> Option<PathBuf> {
    dirs::cache_dir()
}

/// The user's folder of data: what [`XDG_DATA_HOME`] names, or else the custom of the system.
pub fn data_folder() -> Option<PathBuf> {
    dirs::data_dir()
}

/// Where the system has temporary files: what [`TMPDIR`] names, or else its custom.
pub fn temporary_folder() -> PathBuf {
    env::temp_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_declared_once_and_ours_are_ours() {
        for (i, knob) in ALL.iter().enumerate() {
            assert!(ALL[..i].iter().all(|other| other.name != knob.name), "{} is there twice", knob.name);
            assert_eq!(knob.name.starts_with("TESSERA_"), knob.origin != Origin::Convention, "{}", knob.name);
            assert!(knob.doc.ends_with('.') && !knob.takes.is_empty(), "{}", knob.name);
        }
    }

    #[test]
    fn secrets_are_known() {
        for knob in [&HF_TOKEN, &HUGGING_FACE_HUB_TOKEN, &HTTPS_PROXY, &LOWER_ALL_PROXY] {
            assert!(knob.is_secret(), "{}", knob.name);
        }
        assert!(!HF_TOKEN_PATH.is_secret() && !LOWER_NO_PROXY.is_secret() && !HF_ENDPOINT.is_secret());
    }
}
