//! Sample descriptions (`stsd`): the codec of a video track, its parameter sets, and its colours
//! where the container tells.

use shiguredo_mp4::boxes::AvccBox;

use super::super::h264::Trouble;
use super::boxes::{BoxBytes, list, word};

/// Version and flags, and the number of entries.
const LIST_HEADER: usize = 8;
/// Fields of a visual sample entry in front of its boxes (ISO/IEC 14496-12, 12.1.3).
const VISUAL_FIELDS: usize = 78;

/// What describes samples of a video track.
#[derive(Debug)]
pub(super) struct Description {
    /// The codec's code.
    codec: [u8; 4],
    /// H.264 alone has one; no sets in it if they come with the samples.
    pub(super) config: Option<AvccBox>,
    pub(super) colours: Option<Colours>,
}

/// What a container says of colours (ISO/IEC 14496-12, 12.1.5, and QuickTime's `nclc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours {
    /// `matrix_coefficients` of ITU-T H.273.
    pub(super) matrix: u16,
    /// QuickTime does not tell.
    pub(super) full_range: Option<bool>,
}

impl Description {
    /// All of a track's, by the box `stsd`.
    pub(super) fn read_all(descriptions: BoxBytes<'_>) -> Result<Vec<Description>, Trouble> {
        let entries = list(descriptions.payload.get(LIST_HEADER..).unwrap_or_default())?;
        entries.into_iter().map(Description::read).collect()
    }

    fn read(entry: BoxBytes<'_>) -> Result<Description, Trouble> {
        let mut description = Description { codec: entry.kind, config: None, colours: None };
        // Sets of `avc3` may come with the samples.
        if !matches!(&entry.kind, b"avc1" | b"avc3") {
            return Ok(description);
        }
        for part in list(entry.payload.get(VISUAL_FIELDS..).unwrap_or_default())? {
            match &part.kind {
                b"avcC" if description.config.is_none() => description.config = Some(part.decode()?),
                // There may be a profile (`prof`) beside them; of several the last one holds, as
                // for ffmpeg.
                b"colr" => description.colours = Colours::read(part.payload).or(description.colours),
                _ => {}
            }
        }
        Ok(description)
    }

    /// The parameter sets, if it is H.264.
    pub(super) fn h264(&self) -> Result<&AvccBox, Trouble> {
        match (&self.config, &self.codec) {
            (Some(config), _) => Ok(config),
            (None, b"encv" | b"drmi") => Err(Trouble::Damaged("its video is encrypted; decrypt it first".into())),
            (None, b"avc1" | b"avc3") => Err(Trouble::Unsupported("its H.264 has no parameter sets (`avcC`)".into())),
            (None, _) => {
                Err(Trouble::Unsupported(format!("its video is {}, and H.264 is decoded here", codec_name(self.codec))))
            }
        }
    }
}

impl Colours {
    /// `None` for a profile, or what is cut off.
    fn read(payload: &[u8]) -> Option<Colours> {
        // Primaries, transfer, matrix in two bytes each; then, of ISO's, the range's bit.
        let matrix = word(payload, 6)? as u16;
        match &payload[..4] {
            b"nclx" => Some(Colours { matrix, full_range: Some(payload.get(10)? >> 7 == 1) }),
            b"nclc" => Some(Colours { matrix, full_range: None }),
            _ => None,
        }
    }
}

/// A codec's name for messages.
fn codec_name(codec: [u8; 4]) -> String {
    match &codec {
        b"hev1" | b"hvc1" => "H.265 (HEVC)".into(),
        b"vvc1" | b"vvi1" => "H.266 (VVC)".into(),
        b"vp08" => "VP8".into(),
        b"vp09" => "VP9".into(),
        b"av01" => "AV1".into(),
        b"mp4v" => "MPEG-4".into(),
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG".into(),
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes".into(),
        other => format!("`{}`", other.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_either_container() {
        let read = |text: &[u8], tail: &[u8]| Colours::read(&[text, &[0, 9, 0, 16, 0, 1], tail].concat());
        assert_eq!(read(b"nclx", &[0x80]), Some(Colours { matrix: 1, full_range: Some(true) }));
        assert_eq!(read(b"nclx", &[0x7f]), Some(Colours { matrix: 1, full_range: Some(false) }));
        assert_eq!(read(b"nclc", &[]), Some(Colours { matrix: 1, full_range: None }));
        assert_eq!((read(b"nclx", &[]), read(b"prof", &[1, 2, 3])), (None, None));
        assert_eq!(Colours::read(b"nclc\x00\x01"), None);
    }
}
