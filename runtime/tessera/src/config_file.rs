//! Files of configurations: their text, and the model that it describes. What the fields are is
//! [`frontend`]'s.

use std::path::Path;
use std::sync::Arc;

use frontend::{Autoencoder, ConfigError, ConfigWarning};

use crate::error::{Error, Result};
use crate::text_file::{self, NotText};

/// A model with its configuration, and what was passed over.
pub(crate) type ReadModel = (Arc<dyn Autoencoder>, Vec<ConfigWarning>);

/// Reads a config.json.
///
/// # Errors
/// [`files::Error::Read`]; [`Error::Config`] with every field that cannot be honoured.
pub fn read_config(path: &Path) -> Result<ReadModel> {
    model(path, &text(path)?)
}

/// The text of a file.
///
/// # Errors
/// [`files::Error::Read`]; [`Error::Config`] if it is no text.
pub(crate) fn text(path: &Path) -> Result<String> {
    text_file::read_json(path).map_err(|fault| match fault {
        NotText::Read(cause) => files::Error::Read { path: path.into(), cause }.into(),
        NotText::Other(problem) => Error::Config { path: path.into(), cause: ConfigError::Other(problem) },
    })
}

/// The model that the text of the file at `path` describes.
///
/// # Errors
/// [`Error::Config`] with every field that cannot be honoured.
pub(crate) fn model(path: &Path, text: &str) -> Result<ReadModel> {
    frontend::read_config(text).map_err(|cause| Error::Config { path: path.into(), cause })
}
