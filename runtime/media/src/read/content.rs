//! What a file is: told by its first bytes. Its name's ending is asked only where they are of no
//! format that is read here.

use std::io::Read;
use std::path::Path;

use files::foreign;

use super::clip_file::ClipFile;
use crate::error::{Result, bad};

/// Bytes that are looked at.
const HEAD: u64 = 1 << 16;
/// How formats begin that say so in their first bytes.
const SIGNATURES: [(&[u8], Content); 5] = [
    (b"\x89PNG\r\n\x1a\n", Content::Png),
    (b"\xff\xd8\xff", Content::Jpeg),
    (b"GIF8", Content::Gif),
    (b"YUV4MPEG2", Content::Y4m),
    (b"\x93NUMPY", Content::Npy),
];
/// Boxes that an MP4 or QuickTime file begins with.
const BOXES: [&[u8; 4]; 10] =
    [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid"];
/// Brands of files that are built as MP4 is and hold pictures (ISO/IEC 23008-12, AVIF).
const PICTURE_BRANDS: [&[u8; 4]; 10] =
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"];
/// A header of safetensors is shorter than this many bytes.
const MAX_SAFETENSORS_HEADER: u64 = 100_000_000;

/// A format that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Png,
    Jpeg,
    WebP,
    Gif,
    Y4m,
    /// MP4 and QuickTime.
    Mp4,
    Npy,
    Safetensors,
}

impl Content {
    /// What the file is. `None` if it may be a clip, of no format that is read here.
    ///
    /// # Errors
    /// [`files::Error::Read`]; [`Error::BadClip`] if it is empty, or something that is no clip,
    /// such as an HTML page.
    pub(super) fn of(clip: &ClipFile) -> Result<Option<Content>> {
        let path = &clip.name;
        let mut head = vec![];
        let read = clip.bytes().take(HEAD).read_to_end(&mut head);
        read.map_err(|cause| files::Error::Read { path: path.into(), cause })?;
        if head.is_empty() {
            return Err(bad(path, "it is empty"));
        }
        if let Some(content) = Content::of_bytes(&head) {
            return Ok(Some(content));
        }
        if is_heif(&head) {
            return Ok(None);
        }
        let named = Content::of_ending(path);
        let cut_off =
            |named| SIGNATURES.iter().any(|&(signature, content)| content == named && signature.starts_with(&head));
        // RIFF has clips too, and is told apart by what plays them.
        if named.is_some_and(cut_off) || head.starts_with(b"RIFF") || b"RIFF".starts_with(&head) {
            return Ok(named);
        }
        foreign::kind(&head).map_or(Ok(named), |kind| Err(bad(path, kind)))
    }

    /// What a file is that begins so, as far as its first bytes say.
    pub(super) fn of_bytes(head: &[u8]) -> Option<Content> {
        if let Some(&(_, content)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
            return Some(content);
        }
        if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
            return Some(Content::WebP);
        }
        let length = u64::from_le_bytes(*head.first_chunk()?);
        if head.get(8) == Some(&b'{') && length < MAX_SAFETENSORS_HEADER {
            return Some(Content::Safetensors);
        }
        let kind = &head[4..8];
        (BOXES.iter().any(|&known| known == kind) && !is_heif(head)).then_some(Content::Mp4)
    }

    /// What the name says.
    pub(super) fn of_ending(path: &Path) -> Option<Content> {
        Some(match path.extension()?.to_ascii_lowercase().to_str()? {
            "png" | "apng" => Content::Png,
            "jpg" | "jpeg" | "jpe" | "jfif" => Content::Jpeg,
            "webp" => Content::WebP,
            "gif" => Content::Gif,
            "y4m" => Content::Y4m,
            "mp4" | "m4v" | "mov" | "qt" => Content::Mp4,
            "npy" => Content::Npy,
            "safetensors" => Content::Safetensors,
            _ => return None,
        })
    }

    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Content::Png => "a PNG",
            Content::Jpeg => "a JPEG",
            Content::WebP => "a WebP",
            Content::Gif => "a GIF",
            Content::Y4m => "y4m",
            Content::Mp4 => "MP4 or QuickTime",
            Content::Npy => "a NumPy array",
            Content::Safetensors => "safetensors",
        }
    }

    /// Whether it can be a frame of a folder.
    #[cfg(feature = "codecs")]
    pub(super) fn is_picture(self) -> bool {
        matches!(self, Content::Png | Content::Jpeg | Content::WebP)
    }
}

fn is_heif(head: &[u8]) -> bool {
    head.get(4..8) == Some(b"ftyp") && PICTURE_BRANDS.iter().any(|&brand| head.get(8..12) == Some(brand))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_how_they_begin() {
        for (head, expected) in [
            (&b"\x89PNG\r\n\x1a\n...."[..], Some(Content::Png)),
            (b"\xff\xd8\xff\xe0....", Some(Content::Jpeg)),
            (b"\xff\xd8\xff", Some(Content::Jpeg)),
            (b"RIFF....WEBPVP8 ", Some(Content::WebP)),
            (b"RIFF....AVI LIST", None),
            (b"GIF87a..", Some(Content::Gif)),
            (b"YUV4MPEG2 W2", Some(Content::Y4m)),
            (b"\0\0\0\x18ftypisom", Some(Content::Mp4)),
            (b"\0\0\0\x18ftypqt  ", Some(Content::Mp4)),
            (b"\0\0\0\x08wide\0\0", Some(Content::Mp4)),
            (b"\0\0\x30\x08moov\0\0", Some(Content::Mp4)),
            (b"\0\0\0\x18ftypheic", None),
            (b"\0\0\0\x18ftypavif", None),
            (b"\x93NUMPY\x01\0", Some(Content::Npy)),
            (b"\x40\0\0\0\0\0\0\0{\"a\"", Some(Content::Safetensors)),
            (b"12345678{", None),
            (b"\x1aE\xdf\xa3....", None),
            (b"ab", None),
            (b"", None),
        ] {
            assert_eq!(Content::of_bytes(head), expected, "{}", head.escape_ascii());
        }
    }
}
