//! What goes wrong on the workbench, beside what package [`tessera`] reports.

use backend_cpu::target::TargetError;
use backend_tpu_stablehlo::pjrt::child::ChildError;
use frontend::DeclareError;

/// A result with this package's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What running models reports.
    #[error(transparent)]
    Tessera(#[from] tessera::Error),
    /// A step needs more memory than the device has that it is compiled for.
    #[error(
        "{step} does not fit a device of {target}: {problem}; take smaller tiles, or share each frame out to more \
         devices"
    )]
    DeviceMemory {
        /// The step.
        step: String,
        /// The devices, as the plugin names them.
        target: String,
        /// In the compiler's words.
        problem: String,
    },
}

/// Errors that package [`tessera`] has words for.
macro_rules! by_way_of_tessera {
    ($($error:ty),+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Error {
                Error::Tessera(error.into())
            }
        })+
    };
}

by_way_of_tessera!(ChildError, DeclareError, TargetError, files::Error);
