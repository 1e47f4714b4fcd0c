//! Runs every `filetests/PASS/*.ir`.
//!
//! A file starts with a header of comment lines, then holds the program, then, below the line `//
//! ---- becomes`, what the passes make of it. Header lines that mean something:
//!
//! - `// pass: fuse-bias, eliminate-dead-code`: the passes to run, in order; or `// pass:
//!   cpu-pipeline` for that list, `cpu-pipeline bf16` in that precision.
//! - `// expect: unchanged`: the passes must leave the program as it is; there is no expected text.
//! - `// expect: same meaning`: whatever the passes make of the program, it means the same; there
//!   is no expected text. What random programs have led to is kept so, in `filetests/regressions/`.
//! - `// expect: error`: the passes must fail, and the expected text is the message, each line
//!   behind `// `.
//! - `// compare: no (REASON)`: do not evaluate; `// compare: within 0.02 (REASON)`: agree to that.
//!
//! Unless the passes fail or the header forbids it, the program is evaluated before and after, in
//! f64 on random numbers, and both must agree to 1e-9, unless the header says otherwise. Running
//! the passes a second time must change nothing but dead code. With `TESSERA_BLESS=1` in the
//! environment, expected texts are written anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ir::Graph;
use passes::{Pass, Precision, pipeline};

const BECOMES: &str = "// ---- becomes";

struct Header {
    passes: Vec<Pass>,
    expect: Expect,
    /// How far results may be apart; `None` to evaluate none.
    compare: Option<f64>,
}

#[derive(PartialEq)]
enum Expect {
    Text,
    Unchanged,
    SameMeaning,
    Error,
}

fn header(text: &str) -> Result<Header, String> {
    let mut header = Header { passes: Vec::new(), expect: Expect::Text, compare: Some(1e-9) };
    for line in text.lines().map_while(|line| line.strip_prefix("//")) {
        let Some((key, value)) = line.trim().split_once(": ") else { continue };
        match (key, value) {
            ("pass", "cpu-pipeline") => header.passes.extend(passes::cpu_pipeline(Precision::F32)),
            ("pass", "cpu-pipeline bf16") => header.passes.extend(passes::cpu_pipeline(Precision::Bf16)),
            ("pass", names) => {
                for name in names.split(", ") {
                    header.passes.push(*pipeline::find(name).ok_or_else(|| format!("there is no pass `{name}`"))?);
                }
            }
            ("expect", "unchanged") => header.expect = Expect::Unchanged,
            ("expect", "same meaning") => header.expect = Expect::SameMeaning,
            ("expect", "error") => header.expect = Expect::Error,
            ("expect", other) => return Err(format!("expect `unchanged`, `same meaning` or `error`, not `{other}`")),
            ("compare", value) if value.starts_with("no (") => header.compare = None,
            ("compare", value) => {
                let bound = value.strip_prefix("within ").and_then(|rest| rest.split_once(" ("));
                let bound = bound.and_then(|(number, _)| number.parse().ok());
                header.compare =
                    Some(bound.ok_or_else(|| format!("compare `no (..)` or `within 0.1 (..)`, not `{value}`"))?);
            }
            _ => {}
        }
    }
    if header.passes.is_empty() { Err("no `// pass: ...` in the header".to_owned()) } else { Ok(header) }
}

fn run(passes: &[Pass], graph: &Graph) -> Result<Graph, String> {
    pipeline::run(passes, graph, &mut |_, _, _| {}).map_err(|error| error.to_string())
}

/// Runs one file; the whole text that it should have.
fn check(text: &str) -> Result<String, String> {
    let (given, expected) = text.split_once(BECOMES).map_or((text, ""), |(given, expected)| (given, expected));
    let header = header(given)?;
    let before = ir::text::parse(given).map_err(|error| error.to_string())?;
    let result = run(&header.passes, &before);
    let becomes = match (&header.expect, &result) {
        (Expect::Error, Err(message)) => message.lines().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "// {line}");
            text
        }),
        (Expect::Error, Ok(_)) => return Err("the passes should fail".to_owned()),
        (_, Err(message)) => return Err(message.clone()),
        (Expect::Unchanged, Ok(after)) => {
            let (before, after) = (ir::text::print(&before), ir::text::print(after));
            return if before == after { Ok(text.to_owned()) } else { Err(format!("changed to\n{after}")) };
        }
        (Expect::Text | Expect::SameMeaning, Ok(after)) => ir::text::print(after),
    };
    if let Ok(after) = &result {
        if let Some(bound) = header.compare {
            (1..4).try_for_each(|seed| crate::evaluation::same_within(&before, after, seed, bound))?;
        }
        let clean = |graph: &Graph| run(&[passes::eliminate_dead_code::PASS], graph).map(|g| ir::text::print(&g));
        let twice = clean(&run(&header.passes, after)?)?;
        if twice != clean(after)? {
            return Err(format!("a second run changes it to\n{twice}"));
        }
    }
    if header.expect == Expect::SameMeaning || expected.trim() == becomes.trim() {
        return Ok(text.to_owned());
    }
    Ok(format!("{}\n\n{BECOMES}\n{becomes}", given.trim_end()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "ir") {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[test]
fn filetests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let bless = ir::knobs::BLESS.is_on();
    let mut failures = String::new();
    let all = files(&folder);
    for path in &all {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display();
        match check(&text) {
            Ok(wanted) if wanted == text => {}
            Ok(wanted) if bless => std::fs::write(path, wanted).unwrap(),
            Ok(wanted) => {
                let becomes = wanted.split_once(BECOMES).map_or("", |(_, becomes)| becomes);
                let _ = writeln!(failures, "{name}: differs from what is expected (TESSERA_BLESS=1 accepts):{becomes}");
            }
            Err(message) => {
                let _ = writeln!(failures, "{name}: {message}");
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    for pass in pipeline::ALL {
        let of_pass = all.iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with(pass.name))).count();
        assert!(of_pass >= 2, "{} needs a file where it fires and one where it must not", pass.name);
    }
}
