//! Boxes of MP4 and QuickTime files (ISO/IEC 14496-12, 4.2): walking along them, and having one
//! parsed.
//!
//! Walking looks at nothing but sizes and kinds, so that what is in a box that is not read cannot
//! matter.

use std::panic::catch_unwind;

use shiguredo_mp4::Decode;

use super::super::h264::Trouble;

/// A box's size and kind; where the size is 1, another one of 64 bits follows.
pub(super) const HEADER: usize = 8;
const LONG_HEADER: usize = 16;

/// One box in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoxBytes<'a> {
    pub(super) kind: [u8; 4],
    /// The whole of it, header included.
    pub(super) whole: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> BoxBytes<'a> {
    /// The box that `bytes` begin with.
    pub(super) fn first(bytes: &'a [u8]) -> Result<BoxBytes<'a>, Trouble> {
        let (kind, size) =
            header(bytes).ok_or_else(|| Trouble::Damaged("its index is damaged: a box has no whole header".into()))?;
        let front = if bytes[..4] == 1u32.to_be_bytes() { LONG_HEADER } else { HEADER };
        let size = usize::try_from(size.unwrap_or(bytes.len() as u64)).unwrap_or(usize::MAX);
        match bytes.get(..size).and_then(|whole| Some((whole, whole.get(front..)?))) {
            Some((whole, payload)) => Ok(BoxBytes { kind, whole, payload }),
            None => Err(Trouble::Damaged(format!(
                "its index is damaged: box `{}` says to be {size} bytes long, where {} are left",
                kind.escape_ascii(),
                bytes.len()
            ))),
        }
    }

    /// The boxes in it. QuickTime ends some lists with a size of 0, or with bytes too few for a
    /// box.
    pub(super) fn children(self) -> Result<Vec<BoxBytes<'a>>, Trouble> {
        list(self.payload)
    }

    /// The first box of a kind in it, if there is one.
    pub(super) fn find(self, kind: &[u8; 4]) -> Result<Option<BoxBytes<'a>>, Trouble> {
        Ok(self.children()?.into_iter().find(|child| &child.kind == kind))
    }

    /// The first box of a kind in it, which must be there.
    pub(super) fn child(self, kind: &[u8; 4]) -> Result<BoxBytes<'a>, Trouble> {
        self.find(kind)?
            .ok_or_else(|| rare(format!("box `{}` has no `{}`", self.kind.escape_ascii(), kind.escape_ascii())))
    }

    /// Has it parsed.
    pub(super) fn decode<T: Decode>(self) -> Result<T, Trouble> {
        let what = self.kind.escape_ascii();
        // The parser is given what others wrote: should it panic, the box is of a kind that it does
        // not know.
        match catch_unwind(|| T::decode(self.whole)) {
            Ok(Ok((parsed, _))) => Ok(parsed),
            Ok(Err(cause)) => Err(rare(format!("box `{what}` cannot be parsed: {cause}"))),
            Err(_) => Err(rare(format!("box `{what}` cannot be parsed"))),
        }
    }
}

fn rare(problem: String) -> Trouble {
    Trouble::Unsupported(format!("its index is damaged or of a rare kind: {problem}"))
}

/// The boxes that stand one behind the other in `bytes`.
pub(super) fn list(mut bytes: &[u8]) -> Result<Vec<BoxBytes<'_>>, Trouble> {
    let mut found = vec![];
    while bytes.len() >= HEADER && bytes[..4] != [0; 4] {
        let next = BoxBytes::first(bytes)?;
        bytes = &bytes[next.whole.len()..];
        found.push(next);
    }
    Ok(found)
}

/// Kind and size, header included, of the box that `bytes` begin with; no size where it reaches to
/// the end of what it is in. `None` if they are too few, or the size is less than that of a header.
pub(super) fn header(bytes: &[u8]) -> Option<([u8; 4], Option<u64>)> {
    let kind = word(bytes, 4)?.to_be_bytes();
    match word(bytes, 0)? {
        0 => Some((kind, None)),
        1 => {
            let size = u64::from(word(bytes, 8)?) << 32 | u64::from(word(bytes, 12)?);
            (size >= LONG_HEADER as u64).then_some((kind, Some(size)))
        }
        size => (size >= HEADER as u32).then_some((kind, Some(size.into()))),
    }
}

/// The number of 32 bits at `at`, if it is there.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}
