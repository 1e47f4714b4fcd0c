//! What to type: the options by which the command line does what would help, put behind what the
//! library says is wrong.

use backend_tpu_stablehlo::pjrt::locate::LocateError;
use media::read::Note;
use media::{Remedy, error};
use tessera::{Error, FrameTiling, LatentsAccount, LatentsLayout};

/// The words behind this error, where options would help.
pub(super) fn of(error: &Error) -> String {
    match error {
        Error::Media(error::Error::BadClip { remedy: Some(Remedy::Frames(frames)), .. }) => {
            format!(", --frames {frames} takes them")
        }
        Error::Media(error::Error::BadClip { remedy: Some(Remedy::Range(ranges)), .. }) => {
            let ranges: Vec<String> = ranges.iter().map(|range| format!("--range {}", range.text())).collect();
            format!(" with {}", ranges.join(" or "))
        }
        Error::Media(error::Error::NoArray { .. }) => "; leave out --axes and --range".into(),
        Error::PackedSize { size: None, .. } => ": --latents-size HxW, in pixels".into(),
        Error::NonFiniteResult { .. } => "; --check-finite names the module".into(),
        Error::NoPlugin(error) if matches!(**error, LocateError::Unnamed | LocateError::NoPip) => {
            "; --plugin names one".into()
        }
        Error::FrameTiling { nearest: Some(FrameTiling { frames, stride }), .. } => {
            format!("; --tile-frames {frames}/{stride} is the nearest")
        }
        Error::FrameTiling { nearest: None, .. } => "; leave out --tile-frames".into(),
        _ => String::new(),
    }
}

/// The same behind what the workbench says.
pub(super) fn of_workbench(error: &workbench::Error) -> String {
    match error {
        workbench::Error::Tessera(error) => of(error),
        workbench::Error::DeviceMemory { .. } => " (--tiling HxW or auto; --mesh height=N)".into(),
        _ => String::new(),
    }
}

/// How latents were read, and how to say otherwise: the first note is about a guess, if there is
/// one.
pub(super) fn with_layout(account: &LatentsAccount, mut notes: Vec<String>) -> Vec<String> {
    if let Some(note) = notes.first_mut().filter(|_| account.layout_is_guess) {
        let (layout, other) = match account.layout {
            LatentsLayout::Btchw => (LatentsLayout::Btchw, LatentsLayout::Bcthw),
            _ => (LatentsLayout::Bcthw, LatentsLayout::Btchw),
        };
        *note += &format!(
            "; --latents-layout {other} reads them the other way, --latents-layout {layout} says that this is right"
        );
    }
    notes
}

/// What was found out of a clip, and how to say otherwise.
pub(super) fn with_axes(note: &Note) -> String {
    match note.other_axes.is_empty() {
        true => note.text.clone(),
        false => format!("{}: --axes says otherwise", note.text),
    }
}

#[cfg(test)]
mod tests {
    use media::read::ValueRange;

    use super::*;

    #[test]
    fn what_would_help_is_said_as_options() {
        let told = |remedy| {
            let error = error::Error::BadClip { path: "a.gif".into(), problem: "it is cut off".into(), remedy };
            let error = Error::from(error);
            format!("{error}{}", of(&error))
        };
        assert_eq!(told(None), "a.gif: not a usable clip: it is cut off");
        assert_eq!(
            told(Some(Remedy::Frames(3))),
            "a.gif: not a usable clip: it is cut off; those before it are whole, --frames 3 takes them"
        );
        assert_eq!(
            told(Some(Remedy::Range(ValueRange::ALL.to_vec()))),
            "a.gif: not a usable clip: it is cut off; say which with --range -1,1 or --range 0,1 or --range 0,255"
        );
        let no_array = Error::from(error::Error::NoArray { path: "a.gif".into() });
        assert!(of(&no_array).contains("--axes and --range"));
        let tiling = FrameTiling { frames: 15, stride: 12 };
        let of_time = |nearest| {
            let (half, problem) = (frontend::Half::Decoder, "both must be multiples of 4".into());
            let error = Error::FrameTiling { tiling, half, problem, nearest };
            format!("{error}{}", of(&error))
        };
        assert_eq!(
            of_time(Some(FrameTiling { frames: 16, stride: 12 })),
            "tiles of 15 frames at a stride of 12 cannot be had of the decoder: both must be multiples of 4; \
             --tile-frames 16/12 is the nearest"
        );
        assert!(of_time(None).ends_with("; leave out --tile-frames"));
        assert_eq!(of(&Error::Interrupted), "");
    }
}
