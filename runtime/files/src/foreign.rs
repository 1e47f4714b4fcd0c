//! What a file is that is not what it should be: a login page, a server's error message, a Git LFS
//! pointer, a packed file.
//!
//! A download that went wrong leaves these under the name of what was wanted. Whoever could not
//! read a file as its own format asks here, so that people are told what they have and not which
//! byte of it was no number. Formats that are read are known by those who read them.

use serde_json::Value;

/// How much of a file is looked at.
const LOOK: usize = 1 << 16;
/// How many characters of a text are quoted.
const QUOTED: usize = 80;

/// How formats begin that are never read here, what they are, and what to do.
const SIGNATURES: [(&[u8], &str); 16] = [
    (b"\x1f\x8b\x08", "it is packed by gzip; unpack it first (gunzip)"),
    (b"BZh", "it is packed by bzip2; unpack it first (bunzip2)"),
    (b"\xfd7zXZ\0", "it is packed by xz; unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "it is packed by zstd; unpack it first (unzstd)"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "it is a RAR archive; unpack it first"),
    (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    (b"PK\x05\x06", "it is an empty zip archive"),
    (b"\x89HDF\r\n", "it is an HDF5 file; convert it to safetensors"),
    (b"GGUF", "it is a GGUF file; take the model's safetensors"),
    (b"\x93NUMPY", "it is a NumPy array"),
    (b"%PDF", "it is a PDF document"),
    (b"\x89PNG", "it is a PNG picture"),
    (b"\xff\xd8\xff", "it is a JPEG picture"),
    (b"GIF8", "it is a GIF picture"),
    (b"RIFF", "it is a RIFF file (WebP, AVI or WAV)"),
];

/// What a file that begins with `bytes` is and what to do about it, as a sentence about "it";
/// `None` if it is of no kind that is known here.
pub fn kind(bytes: &[u8]) -> Option<String> {
    if let Some((_, sentence)) = SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)) {
        return Some((*sentence).into());
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some("it is a tar archive; unpack it first".into());
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return Some("it is a video (MP4)".into());
    }
    let start = &bytes[..bytes.len().min(LOOK)];
    if start.len() >= 16 && start.iter().all(|byte| *byte == 0) {
        return Some(
            "it begins with nothing but zeros: room for a download that did not finish; fetch it again".into(),
        );
    }
    text_kind(&text(start)?)
}

/// The text that a file begins with, without a byte order mark; `None` if it is no text.
fn text(start: &[u8]) -> Option<String> {
    let text = match start {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest)?.into(),
        _ => utf8(start)?.into(),
    };
    let printable = |c: char| !c.is_control() || c.is_ascii_whitespace();
    (!text.is_empty() && text.chars().all(printable)).then_some(text)
}

/// All of it, but for a character that the end cuts.
fn utf8(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(fault) if fault.error_len().is_none() => std::str::from_utf8(&bytes[..fault.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// The text of these 16-bit units; `None` if it is none.
pub(crate) fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, _) = bytes.as_chunks::<2>();
    char::decode_utf16(units.iter().map(|&bytes| unit(bytes))).collect::<Result<_, _>>().ok()
}

fn text_kind(text: &str) -> Option<String> {
    let text = text.trim_start();
    let lower = text.get(..text.len().min(4096)).unwrap_or(text).to_ascii_lowercase();
    if text.starts_with("version https://git-lfs") {
        return Some("it is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder".into());
    }
    if ["<!doctype html", "<html", "<head", "<body", "<!--"].iter().any(|tag| lower.starts_with(tag)) {
        let title = element(&lower, text, "title").map(|title| format!(" (`{title}`)")).unwrap_or_default();
        return Some(format!(
            "it is an HTML page{title}, such as a login or error page that was saved in the file's place; fetch the \
             file itself, signed in if need be"
        ));
    }
    if lower.starts_with("<?xml") || lower.starts_with("<error") {
        let said = element(&lower, text, "message").or_else(|| element(&lower, text, "code"));
        let said = said.map(|said| format!(" (`{said}`)")).unwrap_or_default();
        return Some(format!("it is an XML document{said}, such as a server's error message; fetch the file itself"));
    }
    if text.starts_with(['{', '[']) {
        return Some(match serde_json::from_str(text) {
            Ok(json) => json_kind(&json),
            Err(_) => "it is JSON, and not tensors; was another file of the model meant?".into(),
        });
    }
    let quoted: String = text.lines().next()?.chars().take(QUOTED).collect();
    Some(format!("it is text that begins `{}`; fetch the file itself", quoted.trim_end()))
}

/// What stands between `<tag>` and `</tag>`; `lower` is the beginning of `text` in lower case.
fn element(lower: &str, text: &str, tag: &str) -> Option<String> {
    let start = lower.find(&format!("<{tag}"))?;
    let start = start + lower[start..].find('>')? + 1;
    let length = lower[start..].find('<')?;
    let said = text.get(start..start + length)?.split_whitespace().collect::<Vec<_>>().join(" ");
    (!said.is_empty()).then(|| said.chars().take(QUOTED).collect())
}

fn json_kind(json: &Value) -> String {
    if let Some(answer) = server_answer(json) {
        return answer;
    }
    if json.get("weight_map").is_some() {
        return "it is an index of shards, and no tensors; its name should end in .index.json".into();
    }
    if json.get("_class_name").is_some() {
        return "it is a model's config.json, and no tensors; name the weights, or the folder that holds both".into();
    }
    "it is JSON, and not tensors; was another file of the model meant?".into()
}

/// What a server said in place of the file, if that is what `json` is: an object of nothing but a
/// message and its trimmings.
pub(crate) fn server_answer(json: &Value) -> Option<String> {
    const MESSAGES: [&str; 5] = ["error", "message", "detail", "errors", "error_description"];
    const TRIMMINGS: [&str; 12] = [
        "code",
        "status",
        "statusCode",
        "status_code",
        "errorCode",
        "type",
        "path",
        "timestamp",
        "documentation_url",
        "requestId",
        "request_id",
        "success",
    ];
    let object = json.as_object()?;
    let of = |names: &[&str], key: &str| names.contains(&key);
    if !object.keys().all(|key| of(&MESSAGES, key) || of(&TRIMMINGS, key)) {
        return None;
    }
    let said = MESSAGES.iter().find_map(|key| object.get(*key))?;
    let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    let said: String = said.chars().take(QUOTED).collect();
    Some(format!("it is a server's answer that says `{said}`; fetch the file itself, signed in if need be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_instead_is_called_that() {
        for (bytes, expected) in [
            (&b"\xef\xbb\xbf  <!DOCTYPE html><HTML><head><title>\n Sign  in</title>"[..], "an HTML page (`Sign in`)"),
            (b"<html>\xff", ""),
            (b"<html lang=en>", "an HTML page, such as a login"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML document (`AccessDenied`)"),
            (b"{\"error\": \"Repository not found\"}", "answer that says `Repository not found`"),
            (b"{\"detail\": {\"a\": 1}, \"status\": 404}", "answer that says `{\"a\":1}`"),
            (b"{\"weight_map\": {}}", "an index of shards"),
            (b"{\"_class_name\": \"A\", \"error\": 1}", "a model's config.json"),
            (b"[1, 2", "it is JSON"),
            (b"Entry not found\n", "text that begins `Entry not found`"),
            (b"\xff\xfeE\0n\0t\0r\0y\0", "text that begins `Entry`"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
            (b"\x1f\x8b\x08", "packed by gzip"),
            (b"\x28\xb5\x2f\xfd", "packed by zstd"),
            (b"PK\x03\x04", "zip archive"),
            (&[0; 64], "nothing but zeros"),
            (b"\0\0\0\x18ftypmp42", "a video"),
            (b"\x01\x02\x03\xf0", ""),
            (b"", ""),
        ] {
            match kind(bytes) {
                Some(found) => assert!(!expected.is_empty() && found.contains(expected), "{bytes:?}: {found}"),
                None => assert_eq!(expected, "", "{bytes:?}"),
            }
        }
        let mut tar = vec![1; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(kind(&tar).unwrap().contains("tar archive"));
        assert_eq!(server_answer(&serde_json::json!({"latent_channels": 16, "error": "x"})), None);
        assert_eq!(server_answer(&serde_json::json!({})), None);
    }
}
