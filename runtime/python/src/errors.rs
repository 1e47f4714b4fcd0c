//! What the library reports as Python's exceptions, which are declared in `tessera/_errors.py`: the
//! command line's messages, with Python's options where that one names its own.

use files::Error as FilesError;
use media::error::Error as MediaError;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::{PyErr, import_exception};
use tessera::{Error, FrameTiling};

import_exception!(tessera._errors, BudgetError);
import_exception!(tessera._errors, Cancelled);
import_exception!(tessera._errors, FileError);
import_exception!(tessera._errors, ForkError);
import_exception!(tessera._errors, InputError);
import_exception!(tessera._errors, MissingFileError);
import_exception!(tessera._errors, ModelError);
import_exception!(tessera._errors, NonFiniteError);
import_exception!(tessera._errors, OptionError);
import_exception!(tessera._errors, PluginError);
import_exception!(tessera._errors, TesseraError);

/// An option with a value that it does not take.
pub(crate) fn refused_option(name: &str, problem: impl std::fmt::Display) -> PyErr {
    OptionError::new_err(format!("{name}: {problem}"))
}

/// The exception for what the library reports.
pub(crate) fn to_python(error: impl Into<Error>) -> PyErr {
    let error = error.into();
    let message = format!("{error}{}", advice(&error));
    match error {
        Error::Interrupted => PyKeyboardInterrupt::new_err(message),
        Error::Files(FilesError::MissingFile { .. }) => MissingFileError::new_err(message),
        Error::Files(_) | Error::Media(_) => match error {
            Error::Media(MediaError::InvalidClip { .. } | MediaError::UnsupportedClip { .. }) => {
                InputError::new_err(message)
            }
            _ => FileError::new_err(message),
        },
        Error::Weights(_) | Error::Config { .. } | Error::Unrecognised { .. } | Error::Scaling(_) => {
            ModelError::new_err(message)
        }
        Error::Input { .. } | Error::Declare(_) | Error::AmbiguousTensor { .. } | Error::PackedSize { .. } => {
            InputError::new_err(message)
        }
        Error::Tiling { .. }
        | Error::FrameTiling { .. }
        | Error::StepFrames { .. }
        | Error::Condition { .. }
        | Error::Options { .. }
        | Error::Parallel { .. }
        | Error::Target(_)
        | Error::Threads { .. } => OptionError::new_err(message),
        Error::Budget { .. } | Error::Memory { .. } => BudgetError::new_err(message),
        Error::NonFinite { .. } | Error::NonFiniteResult { .. } | Error::NonFiniteActivation(_) => {
            NonFiniteError::new_err(message)
        }
        Error::NoPlugin(_) | Error::Pjrt(_) | Error::PluginChild(_) => PluginError::new_err(message),
        _ => TesseraError::new_err(message),
    }
}

/// The exception for what the workbench reports.
pub(crate) fn workbench_to_python(error: workbench::Error) -> PyErr {
    match error {
        workbench::Error::Tessera(error) => to_python(error),
        error @ workbench::Error::DeviceMemory { .. } => {
            BudgetError::new_err(format!("{error} (tiling=(height, width) or \"auto\"; mesh=\"height=N\")"))
        }
        error => TesseraError::new_err(error.to_string()),
    }
}

/// The options that would help, behind the message.
fn advice(error: &Error) -> String {
    match error {
        Error::NonFiniteResult { .. } => "; check_finite=True names the module".into(),
        Error::FrameTiling { nearest: Some(FrameTiling { frames, stride }), .. } => {
            format!("; tile_frames=({frames}, {stride}) is the nearest")
        }
        Error::FrameTiling { nearest: None, .. } => "; leave out tile_frames".into(),
        _ => String::new(),
    }
}
