//! Every environment variable that Tessera reads, declared once: its name, what it takes, what it does. `tessera knobs` lists them.
//!
//! Nothing else reads the environment (`tests/environment.rs` looks), so this table is all there is. It stands in this crate
//! because every other one stands on it. What a value means, and what is wrong with one, is the reader's to say.

use std::ffi::OsString;

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
        "What is assumed of the CPU's dot products of bf16, by which convolutions may be computed; else by what is known of it.";
    Tessera PJRT_PLUGIN = "TESSERA_PJRT_PLUGIN", "cpu, tpu, cuda or a path",
        "The PJRT plugin where --plugin names none; tests of plugins run where it names one for CPUs.";
    Tessera CACHE_DIR = "TESSERA_CACHE_DIR", "a folder",
        "Where compiled programs of PJRT plugins are kept; else tessera/programs in your folder of caches.";
    Tessera GUARD_PAGES = "TESSERA_GUARD_PAGES", "1",
        "Every buffer of native code ends at an inaccessible page, so that code that leaves its buffers ends the process. Slow.";
    Tests LIBTPU = "TESSERA_LIBTPU", "a path",
        "The libtpu.so that tests compile for TPUs with; without it they are skipped.";
    Tests TESTS_MAY_LACK = "TESSERA_TESTS_MAY_LACK", "words: plugin, libtpu, torch, ffmpeg, avx512, ...",
        "Where CI is set, the needs for want of which tests may be skipped; any other skip fails.";
    Tests BLESS = "TESSERA_BLESS", "1",
        "Filetests and the op reference take what is found for what is expected.";
    Tests PYTHON = "TESSERA_PYTHON", "a path",
        "The Python with torch and diffusers that tools/taps.py is tested with; else `python3`. Without those the test is skipped.";
    Convention PROPTEST_CASES = "PROPTEST_CASES", "a number",
        "How many random cases each property test runs; else each its own few. PROPTEST_RNG_SEED chooses others.";
    Convention CI = "CI", "anything",
        "Tests that would be skipped fail.";
    Convention RUST_LOG = "RUST_LOG", "a filter",
        "What to log on stderr, by crate, in place of --log.";
    Convention XLA_FLAGS = "XLA_FLAGS", "flags",
        "For the compilers of PJRT plugins, which read it themselves.";
    Convention TMPDIR = "TMPDIR", "a folder",
        "Where tensors wait on disk; else /var/tmp, or where the system has temporary files.";
    Convention HF_ENDPOINT = "HF_ENDPOINT", "a URL",
        "The hub, or a mirror of it.";
    Convention HF_HOME = "HF_HOME", "a folder",
        "The hub's token and cache; else huggingface in your folder of caches.";
    Convention HF_HUB_CACHE = "HF_HUB_CACHE", "a folder",
        "The cache of models from the hub; else hub in HF_HOME.";
    Convention HF_TOKEN = "HF_TOKEN", "a token",
        "For models of the hub that are not for everyone; else the file that HF_TOKEN_PATH names, or token in HF_HOME.";
    Convention HF_TOKEN_PATH = "HF_TOKEN_PATH", "a file",
        "What holds the token.";
    Convention HF_HUB_DISABLE_IMPLICIT_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1",
        "Send no token.";
    Convention HF_HUB_OFFLINE = "HF_HUB_OFFLINE", "1",
        "Ask nobody: what is in the cache must do.";
    Convention XDG_CACHE_HOME = "XDG_CACHE_HOME", "a folder",
        "Your folder of caches; else .cache in your home folder.";
}

impl Knob {
    /// Its value; an empty one is none.
    pub fn get(&self) -> Option<OsString> {
        std::env::var_os(self.name).filter(|value| !value.is_empty())
    }

    /// Its value, if that is Unicode.
    pub fn text(&self) -> Option<String> {
        self.get()?.into_string().ok()
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
}
