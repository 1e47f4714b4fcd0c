//! What a test needs of a machine beyond a Rust toolchain, and what happens where that is not
//! there: the test is skipped, and says so past the test harness, which shows nothing of tests that
//! pass. Where `CI` is set a skip is a failure, unless `TESSERA_TESTS_MAY_LACK` names the need:
//! whoever runs tests there says what they are not to show.
//!
//! Tests alone depend on this crate. It knows what is needed, and not what for.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use ir::knobs::{CI, Knob, LIBTPU, PJRT_PLUGIN, TESTS_MAY_LACK};

/// What a test may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A PJRT plugin for CPUs.
    Plugin,
    /// The library that compiles for TPUs.
    Libtpu,
    /// A Python with torch, diffusers and safetensors.
    Torch,
    /// A program `ffmpeg` that can do what the test asks for.
    Ffmpeg,
    /// A CPU that runs an instruction set, by the name that `TESSERA_ISA` takes, or with one of its
    /// extensions.
    Instructions(&'static str),
}

impl fmt::Display for Need {
    /// The word that `TESSERA_TESTS_MAY_LACK` knows it by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::Plugin => "plugin",
            Need::Libtpu => "libtpu",
            Need::Torch => "torch",
            Need::Ffmpeg => "ffmpeg",
            Need::Instructions(name) => name,
        })
    }
}

/// Says that `test` is skipped, since the machine lacks what it needs, and how to get that.
///
/// # Panics
/// `CI` is set, and `TESSERA_TESTS_MAY_LACK` does not name the need.
pub fn skip(test: &str, need: Need, how: &str) {
    let may = TESTS_MAY_LACK.text().unwrap_or_default();
    assert!(CI.get().is_none() || allows(&may, need), "{}", refusal(test, need, how));
    // Nothing depends on whether anyone reads it.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: no {need}: {how}");
}

fn allows(list: &str, need: Need) -> bool {
    list.split_whitespace().any(|word| word == need.to_string())
}

fn refusal(test: &str, need: Need, how: &str) -> String {
    format!(
        "{test} would be skipped, which with CI set is a failure: no {need}: {how}; or add `{need}` to {}",
        TESTS_MAY_LACK.name
    )
}

/// The library of a PJRT plugin for CPUs; where there is none, `test` is skipped.
///
/// # Panics
/// As [`skip`].
pub fn plugin(test: &str) -> Option<PathBuf> {
    library(test, Need::Plugin, &PJRT_PLUGIN, "cpu")
}

/// The library that compiles for TPUs; where there is none, `test` is skipped.
///
/// # Panics
/// As [`skip`].
pub fn libtpu(test: &str) -> Option<PathBuf> {
    library(test, Need::Libtpu, &LIBTPU, "tpu")
}

fn library(test: &str, need: Need, knob: &Knob, plugin: &str) -> Option<PathBuf> {
    let path = knob.get().map(PathBuf::from);
    if path.is_none() {
        skip(test, need, &format!("set {} to the library that `tessera plugin install {plugin}` gets", knob.name));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_allowed_by_its_whole_word() {
        assert!(allows("plugin avx512", Need::Plugin) && allows(" avx512\n", Need::Instructions("avx512")));
        for list in ["", "plugins", "avx512_bf16"] {
            assert!(!allows(list, Need::Plugin) && !allows(list, Need::Instructions("avx512")), "{list}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let message = refusal("it_runs", Need::Libtpu, "get one");
        for part in ["it_runs", "CI", "no libtpu: get one", "add `libtpu` to TESSERA_TESTS_MAY_LACK"] {
            assert!(message.contains(part), "`{part}` is not in `{message}`");
        }
    }
}
