//! The libraries under the command line speak in their own terms: none of their messages names an
//! option of it.

use std::fs;
use std::path::{Path, PathBuf};

/// What a source may say of options all the same: the table of environment variables says beside
/// which they stand, and pip is called with its own.
const MAY: [&str; 2] = ["ir/src/knobs.rs", "backend-tpu-stablehlo/src/pjrt/locate.rs"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            found.push(entry);
        }
    }
}

/// Whether a line of code has `--option` in it.
fn names_an_option(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("--").any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before != Some('-') && code[at + 2..].starts_with(|next: char| next.is_ascii_lowercase())
    })
}

#[test]
fn no_library_names_an_option() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut files = vec![];
    let runtime =
        ["files", "media", "python", "weights", "tessera", "workbench"].map(|name| format!("runtime/{name}/src"));
    let others = ["ir", "frontend", "passes", "backend-cpu", "backend-tpu-stablehlo"].map(|name| format!("{name}/src"));
    runtime.iter().chain(&others).for_each(|folder| sources(&workspace.join(folder), &mut files));
    assert!(files.len() > 150, "{} sources", files.len());
    let mut named = vec![];
    for file in files {
        let place = file.strip_prefix(workspace).expect("below the workspace").to_string_lossy().replace('\\', "/");
        if place.contains("tests") || MAY.contains(&place.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a readable source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = text.lines().enumerate().filter(|(_, line)| names_an_option(line));
        named.extend(lines.map(|(number, line)| format!("{place}:{}: {}", number + 1, line.trim())));
    }
    assert!(named.is_empty(), "{}", named.join("\n"));
    assert!(
        names_an_option("\"take --frames 3\"") && !names_an_option("a - -b; // --frames") && !names_an_option("x--")
    );
}
