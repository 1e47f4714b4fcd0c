//! A folder of the hub's cache that someone names as a model: which snapshot in it is meant.
//!
//! People copy these folders from machine to machine, or find them by looking for the weights, so
//! all that may be meant are taken: the folder of a repository, its `snapshots`, and the cache if
//! one repository is in it. A snapshot itself is a model's folder like any other. What fetching
//! makes of such folders is in `cache`.

use std::fs;
use std::path::{Path, PathBuf};

use super::id::{DEFAULT_REVISION, is_commit};

/// How the name of a model's folder in the cache begins.
const MODEL_PREFIX: &str = "models--";
/// The folder of a repository's snapshots.
const SNAPSHOTS: &str = "snapshots";

/// The snapshot that a folder of the cache stands for; `None` if it is no such folder.
///
/// # Errors
/// Why no snapshot of it can be taken, in words.
pub(crate) fn snapshot_folder(folder: &Path) -> Result<Option<PathBuf>, String> {
    let named = folder.canonicalize().unwrap_or_else(|_| folder.into());
    let name = named.file_name().unwrap_or_default().to_string_lossy();
    let is_repository = |folder: &Path| folder.join(SNAPSHOTS).is_dir();
    if is_repository(folder) {
        return snapshot(folder).map(Some);
    }
    if name == SNAPSHOTS && folder_names(folder).iter().any(|name| is_commit(name)) {
        return snapshot(&folder.join("..")).map(Some);
    }
    let models: Vec<String> = folder_names(folder)
        .into_iter()
        .filter(|name| name.starts_with(MODEL_PREFIX) && is_repository(&folder.join(name)))
        .collect();
    match models.as_slice() {
        [] if name.starts_with(MODEL_PREFIX) => {
            Err(format!("it has no folder `{SNAPSHOTS}`: nothing of this model is here"))
        }
        [] => Ok(None),
        [one] => snapshot(&folder.join(one)).map(Some),
        several => Err(format!("it is a cache with several models, {}: name one of these folders", several.join(", "))),
    }
}

/// The snapshot that a repository's folder stands for: of its main branch, or the only one.
fn snapshot(repository: &Path) -> Result<PathBuf, String> {
    let snapshots = repository.join(SNAPSHOTS);
    let commits = folder_names(&snapshots);
    if let Ok(commit) = fs::read_to_string(repository.join("refs").join(DEFAULT_REVISION)) {
        // What stands in refs is not ours: it leads to a snapshot or nowhere.
        if let Some(commit) = commits.iter().find(|found| *found == commit.trim()) {
            return Ok(snapshots.join(commit));
        }
    }
    match commits.as_slice() {
        [] => Err(format!("its folder `{SNAPSHOTS}` is empty: nothing of this model is here")),
        [one] => Ok(snapshots.join(one)),
        several => Err(format!(
            "it has several snapshots, and refs/{DEFAULT_REVISION} names none of them: name one of {}",
            several.iter().map(|commit| format!("`{SNAPSHOTS}/{commit}`")).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// The folders in a folder, in order.
fn folder_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_cache_is_a_snapshot() {
        let cache = tempfile::tempdir().unwrap();
        let (old, new) = ("0".repeat(40), "f".repeat(40));
        let repository = cache.path().join("models--owner--name");
        let add = |commit: &str| fs::create_dir_all(repository.join(SNAPSHOTS).join(commit)).unwrap();
        let is_of = |folder: &Path, commit: &str| {
            snapshot_folder(folder).unwrap().is_some_and(|found| found.is_dir() && found.ends_with(commit))
        };
        let problem = |folder: &Path| snapshot_folder(folder).unwrap_err();
        let ways = [cache.path().to_owned(), repository.clone(), repository.join(SNAPSHOTS)];

        fs::create_dir_all(&repository).unwrap();
        assert!(problem(&repository).contains("no folder `snapshots`"));
        fs::create_dir(repository.join(SNAPSHOTS)).unwrap();
        assert!(problem(&repository).contains("`snapshots` is empty"));
        add(&old);
        assert!(ways.iter().all(|way| is_of(way, &old)));
        assert_eq!(
            snapshot_folder(&repository.join(SNAPSHOTS).join(&old)),
            Ok(None),
            "a model's folder like any other"
        );
        add(&new);
        for way in &ways {
            let problem = problem(way);
            assert!(problem.contains("several snapshots") && problem.contains(&new), "{problem}");
        }
        fs::create_dir(repository.join("refs")).unwrap();
        for (commit, expected) in [(new.clone(), &new), (format!("{old}\n"), &old)] {
            fs::write(repository.join("refs/main"), commit).unwrap();
            assert!(ways.iter().all(|way| is_of(way, expected)));
        }
        fs::write(repository.join("refs/main"), "../../elsewhere").unwrap();
        assert!(problem(&repository).contains("several snapshots"));

        fs::create_dir_all(cache.path().join("models--other--name/snapshots")).unwrap();
        let message = problem(cache.path());
        assert!(message.contains("several models, models--other--name, models--owner--name"), "{message}");
        let plain = tempfile::tempdir().unwrap();
        assert_eq!(snapshot_folder(plain.path()), Ok(None));
    }
}
