//! Small text files that people edit and other programs write: read whole, in UTF-8 or UTF-16, with
//! or without a byte order mark. What the text means is for others.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use crate::foreign;

/// The longest text that is read, in bytes: the index of 436 tensors takes 40 kB.
pub const SIZE_LIMIT: u64 = 16 << 20;

/// Why a file is not read as text.
#[derive(Debug)]
pub enum NotText {
    /// The operating system's word.
    Read(io::Error),
    /// What it is instead, as a sentence about "it".
    Other(String),
}

/// The JSON in `path` as text, without a byte order mark and not parsed. Files that are something
/// else, such as an HTML page or a server's error message, are told apart here.
///
/// # Errors
/// [`NotText`].
pub fn read_json(path: &Path) -> Result<String, NotText> {
    let other = |problem: &str| NotText::Other(problem.into());
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    if !fs::metadata(path).map_err(NotText::Read)?.is_file() {
        return Err(other("it is not a regular file"));
    }
    let mut bytes = vec![];
    File::open(path).map_err(NotText::Read)?.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(NotText::Read)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(NotText::Other(format!("it is larger than {SIZE_LIMIT} bytes")));
    }
    if bytes.is_empty() {
        return Err(other("it is empty; the download or the copy did not finish"));
    }
    let text = decode(&bytes)
        .ok_or_else(|| NotText::Other(foreign::kind(&bytes).unwrap_or_else(|| "it is not text in UTF-8".into())))?;
    let is_json = text.trim_start().starts_with(['{', '[']);
    let fault = match is_json {
        true => serde_json::from_str::<Value>(&text).ok().as_ref().and_then(foreign::server_answer),
        false => foreign::kind(text.as_bytes()),
    };
    fault.map_or(Ok(text), |fault| Err(NotText::Other(fault)))
}

/// The text without its byte order mark; UTF-16 is known by its mark alone.
fn decode(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0xff, 0xfe, rest @ ..] => foreign::utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => foreign::utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        read_json(file.path()).map_err(|fault| match fault {
            NotText::Read(cause) => cause.to_string(),
            NotText::Other(problem) => problem,
        })
    }

    #[test]
    fn byte_order_marks_are_understood() {
        let text = "{\"a\": \"\u{e9}\"}";
        let utf16 = |unit: fn(u16) -> [u8; 2]| "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(unit);
        let utf8 = [b"\xef\xbb\xbf", text.as_bytes()].concat();
        for bytes in
            [text.as_bytes().to_vec(), utf8, utf16(u16::to_le_bytes).collect(), utf16(u16::to_be_bytes).collect()]
        {
            assert_eq!(read(&bytes).unwrap(), text);
        }
    }

    #[test]
    fn what_is_not_json_is_called_what_it_is() {
        let complaint = |bytes: &[u8]| read(bytes).unwrap_err();
        assert!(complaint(b"").contains("is empty"));
        assert!(complaint(b"<!DOCTYPE html>").contains("an HTML page"));
        assert!(complaint(b"\xef\xbb\xbf<html>").contains("an HTML page"));
        assert!(complaint(b"\x1f\x8b\x08\xff").contains("packed by gzip"));
        assert!(complaint(b"{\"a\xff\": 1}").contains("not text in UTF-8"));
        assert!(complaint(b"{\"error\": \"Invalid credentials\"}").contains("says `Invalid credentials`"));
        assert!(complaint(b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
        assert_eq!(read(b"{nonsense").unwrap(), "{nonsense", "what is wrong with JSON is for others");
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_json(folder.path()), Err(NotText::Other(problem)) if problem.contains("regular file")));
    }
}
