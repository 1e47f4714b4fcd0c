//! The names of models on the hub, and what of them is safe to become a path.

use std::fmt;

/// The revision of an id that names none.
pub(super) const DEFAULT_REVISION: &str = "main";

/// A model on the hub: `owner/name`, and a branch, tag or commit of it. Only [`HubId::parse`] makes
/// one: both parts become paths in the cache, and hf-hub looks at neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    repository: String,
    revision: String,
}

impl HubId {
    /// Reads `owner/name` or `owner/name@revision`.
    ///
    /// # Errors
    /// Why the text is no such id, in words.
    pub fn parse(text: &str) -> std::result::Result<HubId, String> {
        const PART_LIMIT: usize = 96;
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, revision),
            None => (text, DEFAULT_REVISION),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let [_, _] = parts[..] else {
            return Err("an id is `owner/name` or `owner/name@revision`, with exactly one `/` before the `@`".into());
        };
        for part in parts {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let edges = part.starts_with(['.', '-']) || part.ends_with(['.', '-']);
            let repeated = part.contains("--") || part.contains("..");
            if part.is_empty() || part.len() > PART_LIMIT || edges || repeated || !part.chars().all(known) {
                return Err(format!(
                    "`{part}` cannot be the owner or name in an id: it takes 1 to {PART_LIMIT} letters, digits, `.`, \
                     `_` and `-`, the last three neither doubled nor at an end"
                ));
            }
        }
        // A revision becomes a path in the cache: what git forbids in a reference's name is
        // forbidden here too.
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || "\\:~^?*[\"<>|".contains(c);
        let component =
            |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with('.') || part.contains("..");
        if revision.contains(forbidden) || revision.split('/').any(component) {
            return Err(format!("`{revision}` is not the name of a branch, tag or commit"));
        }
        Ok(HubId { repository: repository.into(), revision: revision.into() })
    }

    /// `owner/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A branch, tag or commit; `main` if the id names none.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            DEFAULT_REVISION => f.write_str(&self.repository),
            revision => write!(f, "{}@{revision}", self.repository),
        }
    }
}

/// Whether a revision is a commit's full hash, which never comes to stand for anything else.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}
