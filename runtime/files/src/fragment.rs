//! `FILE#PART`: a path with a part of what is there, such as a tensor of a file or a prefix of
//! names.

use std::path::{Path, PathBuf};

/// `clip.safetensors#latents` -> the file and the part. A file whose own name has a `#` is found
/// too. The file's name may be no Unicode; a part's always is.
pub fn split_fragment(source: &Path) -> (PathBuf, Option<String>) {
    let whole = || (source.to_owned(), None);
    if source.exists() {
        return whole();
    }
    let bytes = source.as_os_str().as_encoded_bytes();
    let Some(at) = bytes.iter().rposition(|byte| *byte == b'#') else { return whole() };
    match std::str::from_utf8(&bytes[at + 1..]) {
        Ok(part) if !part.is_empty() => (first_bytes(source, at), Some(part.to_owned())),
        _ => whole(),
    }
}

/// What stands in front of an ASCII character at this place of a path's bytes.
#[cfg(unix)]
fn first_bytes(path: &Path, count: usize) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(&path.as_os_str().as_bytes()[..count]).into()
}

/// What stands in front of an ASCII character at this place of a path's bytes; what is no Unicode
/// in it is replaced.
#[cfg(not(unix))]
fn first_bytes(path: &Path, count: usize) -> PathBuf {
    String::from_utf8_lossy(&path.as_os_str().as_encoded_bytes()[..count]).into_owned().into()
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_part_is_named_behind_any_path() {
        use std::os::unix::ffi::OsStrExt;
        let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        let split = |bytes: &[u8]| split_fragment(&path(bytes));
        assert_eq!(split(b"z\xff.safetensors#a b"), (path(b"z\xff.safetensors"), Some("a b".into())));
        assert_eq!(split(b"a#b#c"), (path(b"a#b"), Some("c".into())));
        for whole in [&b"z\xff"[..], b"z#", b"z#\xff"] {
            assert_eq!(split(whole), (path(whole), None));
        }
    }
}
