//! A file for a picture, as text in SVG. What is drawn is in `roofline` and `error_plot`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::media::place::require_ending;
use crate::media::staging::StagedFile;

/// An SVG file that appears whole at [`Self::finish`] or not at all.
pub struct SvgFile {
    file: StagedFile,
    path: PathBuf,
}

impl SvgFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::UnknownOutput`] unless the path ends in `.svg`; [`Error::OutputPlace`].
    pub fn create(path: &Path) -> Result<SvgFile> {
        require_ending(path, "svg", ".svg, for a picture")?;
        Ok(SvgFile { file: StagedFile::create(path)?, path: path.into() })
    }

    /// Writes what was drawn, or tells why nothing was, and puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::Write`], [`Error::NotInPlace`].
    pub fn finish(mut self, drawn: Result<String, String>) -> Result<()> {
        let svg = drawn.map_err(|problem| Error::Encode { path: self.path, format: "SVG", problem })?;
        self.file.write_all(svg.as_bytes()).map_err(|cause| self.file.error(cause))?;
        self.file.persist().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_endings_are_refused() {
        let refused = SvgFile::create("errors.png".as_ref()).err().unwrap().to_string();
        assert!(refused.contains("`.png` is not an output format; known: .svg"), "{refused}");
    }
}
