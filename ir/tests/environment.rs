//! Nothing but the table of variables reads the environment: by itself, by another name for it, by
//! a folder that follows from it, or by a library that is asked to. What libraries read unasked is
//! declared.

use std::fs;
use std::path::{Path, PathBuf};

use ir::knobs;

/// What may be had of `std::env` anywhere: none of it is a variable.
const HARMLESS: [&str; 6] = ["args", "args_os", "consts", "current_dir", "current_exe", "split_paths"];

/// Names that lead to variables wherever they stand: of the standard library, of C, and of
/// libraries.
const READERS: [&str; 16] = [
    "home_dir",
    "temp_dir",
    "var_os",
    "vars_os",
    "getenv",
    "secure_getenv",
    "environ",
    "GetEnvironmentVariableW",
    "try_from_env",
    "from_default_env",
    "parse_env",
    "parse_default_env",
    "parse_write_style_env",
    "filter_or",
    "from_filename_or_env",
    "dotenv",
];

/// Crates whose every function is about folders or variables.
const CRATES: [&str; 6] = ["dirs", "dirs_next", "directories", "etcetera", "home", "envy"];

/// Our own functions called so, which ask the table.
const OWN: [&str; 2] = ["HubOptions::from_env", "PluginSpec::from_env"];

/// Libraries that read the environment unasked, as far as we use them, and what: from a search
/// through the sources of all.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("anstyle-query", &["CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "TERM", "COLORTERM", "CI"]),
    ("clap_builder", &["COLUMNS", "LINES"]),
    ("console", &["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "COLORTERM", "LANG"]),
    ("cranelift-jit", &["PERF_BUILDID_DIR"]),
    ("dirs", &["XDG_CACHE_HOME", "XDG_DATA_HOME"]),
    ("dirs-sys", &["HOME"]),
    ("graviola", &["GRAVIOLA_CPU_DISABLE_"]),
    ("insta", &["INSTA_UPDATE", "CI"]),
    ("libloading", &["LD_LIBRARY_PATH"]),
    ("proptest", &["PROPTEST_CASES"]),
    ("rayon-core", &["RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS"]),
    ("rustls-native-certs", &["SSL_CERT_FILE", "SSL_CERT_DIR"]),
    ("rusty_h264-common", &["RS_H264_ALLOC_SITE"]),
    ("rusty_h264-decoder", &["RS_H264_FRAME_THREADS"]),
    ("rusty_h264-encoder", &["RFF_CENSUS_CSV"]),
    ("tempfile", &["TMPDIR"]),
];

/// What the standard library and the system read unasked.
const SYSTEM: [&str; 4] = ["PATH", "HOME", "RUST_BACKTRACE", "RUST_MIN_STACK"];

/// Every Rust file below `folder`, but for what builds leave.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name == "target" || name.starts_with('.') => {}
            true => sources(&path, found),
            false if name.ends_with(".rs") => found.push(path),
            false => {}
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A source in words and signs, without comments. What stands in strings is looked at as well: it
/// may be code for a macro.
fn tokens(text: &str) -> Vec<String> {
    let mut found: Vec<String> = vec![];
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let mut is_word = false;
        for c in line.chars() {
            let continues = c == '_' || c.is_alphanumeric();
            match found.last_mut() {
                Some(word) if continues && is_word => word.push(c),
                _ if !c.is_whitespace() => found.push(c.into()),
                _ => {}
            }
            is_word = continues;
        }
    }
    found
}

/// The first thing in a source that reads the environment.
fn reader(text: &str) -> Option<String> {
    let tokens = tokens(text);
    let word = |i: usize| tokens.get(i).map_or("", String::as_str);
    let is_path = |i: usize| word(i) == ":" && word(i + 1) == ":";
    (0..tokens.len()).find_map(|i| {
        let found = |what: &str| Some(what.to_owned());
        // `env::x`, but neither `env!` nor a field or method of that name.
        if word(i) == "env" && is_path(i + 1) && !HARMLESS.contains(&word(i + 3)) {
            return found(&format!("env::{}", word(i + 3)));
        }
        if word(i) == "env" && word(i + 1) == "as" {
            return found("env as");
        }
        // A variable that clap reads for an argument.
        if word(i) == "arg" && word(i + 1) == "(" {
            let inside = tokens[i..].iter().take_while(|token| *token != "]").collect::<Vec<_>>();
            let reads = |pair: &[&String]| ["(", ","].contains(&pair[0].as_str()) && pair[1] == "env";
            if inside.windows(2).any(reads) {
                return found("arg(env)");
            }
        }
        if READERS.contains(&word(i)) {
            return found(word(i));
        }
        if CRATES.contains(&word(i)) && is_path(i + 1) && (i == 0 || word(i - 1) != ":") {
            return found(&format!("{}::", word(i)));
        }
        if word(i) == "env_logger" && is_path(i + 1) && word(i + 3) != "Builder" {
            return found(&format!("env_logger::{}", word(i + 3)));
        }
        let owner = if i >= 3 && is_path(i - 2) { format!("{}::{}", word(i - 3), word(i)) } else { String::new() };
        let is_declared = i > 0 && word(i - 1) == "fn" || OWN.contains(&owner.as_str());
        if word(i) == "from_env" && !is_declared {
            return found(&owner);
        }
        None
    })
}

#[test]
fn nothing_else_reads_the_environment() {
    let mut found = vec![];
    sources(&root(), &mut found);
    assert!(found.len() > 100, "{} files", found.len());
    let ours = ["ir/src/knobs.rs", "ir/tests/environment.rs"];
    for path in found.into_iter().filter(|path| !ours.iter().any(|ours| path.ends_with(ours))) {
        let found = reader(&fs::read_to_string(&path).expect("a source file"));
        assert!(
            found.is_none(),
            "{}: `{}`: declare a knob in ir/src/knobs.rs",
            path.display(),
            found.unwrap_or_default()
        );
    }
}

#[test]
fn every_way_of_reading_is_found() {
    for text in [
        "std::env::var(\"X\")",
        "std :: env :: vars ( )",
        "use std::env::{self, var};",
        "use std::env::*;",
        "use std::env::var_os as look;",
        "use std::env as surroundings;",
        "use std::{env as e, fs};",
        "let folder = env::temp_dir();",
        "std::env::home_dir()",
        "env::set_var(\"X\", \"1\")",
        "dirs::cache_dir()",
        "let d = ::dirs::home_dir();",
        "directories::BaseDirs::new()",
        "ureq::Proxy::try_from_env()",
        "hf_hub::Cache::from_env()",
        "env_logger::init();",
        "env_logger::Env::default()",
        "Builder::from_env(x)",
        "libc::getenv(name)",
        "fs::read(\"/proc/self/environ\")",
        "#[arg(long, env = \"X\")]",
        "#[arg(env)]",
    ] {
        assert!(reader(text).is_some(), "{text}");
    }
    for text in [
        "env!(\"CARGO_MANIFEST_DIR\")",
        "option_env!(\"X\")",
        "// std::env::var is not for us",
        "std::env::args().collect()",
        "use std::env::current_exe;",
        "command.env(\"X\", \"1\").env_remove(\"Y\").envs(z)",
        "HubOptions::from_env()",
        "pub fn from_env() -> HubOptions {",
        "env_logger::Builder::new()",
        "let home = home;",
        "Isa::from_env_or_probe()",
    ] {
        assert_eq!(reader(text), None, "{text}");
    }
}

#[test]
fn what_libraries_read_is_declared() {
    let declared = |name: &str| {
        knobs::ALL.iter().any(|knob| knob.name == name)
            || knobs::FOR_LIBRARIES.iter().any(|(beginning, _)| name.starts_with(beginning))
    };
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    for (library, variables) in LIBRARIES {
        assert!(lock.contains(&format!("name = \"{library}\"\n")), "{library} is used no more");
        for name in *variables {
            assert!(declared(name), "{library} reads {name}");
        }
    }
    SYSTEM.iter().for_each(|name| assert!(declared(name), "{name}"));
    // Read by plain calls of the table, by name.
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        assert!(declared(name) && declared(&name.to_ascii_lowercase()), "{name}");
    }
}
