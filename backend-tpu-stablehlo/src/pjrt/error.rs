//! The client's one error type, and the plugin's errors made into it.

use std::fmt;
use std::path::PathBuf;

/// A result with this client's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong between us and a plugin.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system's loader refuses the file.
    #[error("{}: cannot be loaded as a PJRT plugin: {problem}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        problem: String,
    },
    /// A shared library, but no plugin.
    #[error(
        "{}: not a PJRT plugin: {problem}; a plugin is a shared library that exports GetPjrtApi, such as libtpu.so",
        path.display()
    )]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        problem: String,
    },
    /// A plugin of an API that we do not speak.
    #[error(
        "{}: speaks PJRT API {}.{}, expected {expected}; install {advice} plugin",
        path.display(), found.0, found.1
    )]
    ApiVersion {
        /// The file.
        path: PathBuf,
        /// Major and minor version of its API.
        found: (i32, i32),
        /// The versions that would do.
        expected: String,
        /// `a newer` or `an older`.
        advice: &'static str,
    },
    /// A function that the plugin does not have.
    #[error("the PJRT plugin has no {function}: its API is {}.{}; install a newer plugin", version.0, version.1)]
    MissingFunction {
        /// Its name in the C API.
        function: &'static str,
        /// Major and minor version of the plugin's API.
        version: (i32, i32),
    },
    /// An error that the plugin reports.
    #[error("{function}: {code}: {}", message.trim())]
    Plugin {
        /// The function that was called.
        function: &'static str,
        /// The kind of error.
        code: ErrorCode,
        /// The plugin's own words; may be several lines.
        message: String,
    },
    /// Arguments of a call or a run that do not fit the program. Found by us: plugins take any
    /// buffer of the right number of bytes.
    #[error("{0}")]
    Mismatch(String),
    /// Host memory for a tensor cannot be had.
    #[error("no host memory for {bytes} bytes of {ty}")]
    HostMemory {
        /// How much.
        bytes: usize,
        /// The tensor's type.
        ty: String,
    },
}

/// The kind of a plugin's error: abseil's status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Memory of the device, or another resource, is used up.
    pub const RESOURCE_EXHAUSTED: ErrorCode = ErrorCode(8);
    /// The plugin does not have what was asked for.
    pub const UNIMPLEMENTED: ErrorCode = ErrorCode(12);

    /// The name, as abseil has it.
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        NAMES.get(self.0 as usize).copied()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl Error {
    /// Whether the plugin says that it does not have what was asked for.
    pub fn is_unimplemented(&self) -> bool {
        matches!(self, Error::MissingFunction { .. } | Error::Plugin { code: ErrorCode::UNIMPLEMENTED, .. })
    }
}
