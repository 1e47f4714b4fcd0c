//! Models are declared here and named nowhere else: not in the sources of any other package, tests
//! and comments of examples aside.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of this package's sources that are no model.
const SHARED: [&str; 1] = ["layers"];

/// The sources below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("a readable entry").path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() {
            if !["tests", "target", "frontend", "demo"].contains(&name.as_str()) && !name.starts_with('.') {
                sources(&entry, found);
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            found.push(entry);
        }
    }
}

/// Whether a line has the model's name in it: as a word, or within one where it is too long to be
/// there by chance.
fn names(line: &str, model: &str) -> bool {
    const BY_CHANCE: usize = 5;
    let line = line.replace('_', "");
    let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| word == model || (model.len() > BY_CHANCE && word.contains(model)))
}

#[test]
fn no_other_package_names_a_model() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = fs::read_dir(here.join("src")).expect("the sources").map(|entry| entry.expect("an entry").path());
    let models: Vec<String> = folders
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().expect("a name").to_string_lossy().replace('_', ""))
        .filter(|name| !SHARED.contains(&name.as_str()))
        .collect();
    assert!(!models.is_empty());
    let mut files = vec![];
    sources(here.parent().expect("the workspace"), &mut files);
    assert!(files.len() > 100, "{} sources", files.len());
    assert!(names("a wan_x", "wanx") && !names("who wants", "wan") && names("a longmodelname3d", "longmodelname"));
    let mut named = vec![];
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable source");
        // Unit tests may name what they test with.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_lowercase();
        for (number, line) in text.lines().enumerate() {
            if let Some(model) = models.iter().find(|model| names(line, model)) {
                named.push(format!("{}:{}: {model}", file.display(), number + 1));
            }
        }
    }
    assert!(named.is_empty(), "{}", named.join("\n"));
}
