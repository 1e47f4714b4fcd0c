//! A file for a picture, as text in SVG. What is drawn is in `roofline` and `error_plot`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use files::place::require_ending;
use files::staging::StagedFile;
use tessera::Result;

/// An SVG file that appears whole at [`Self::finish`] or not at all.
pub struct SvgFile {
    file: StagedFile,
    path: PathBuf,
}

impl SvgFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`files::Error::UnknownOutput`] unless the path ends in `.svg`;
    /// [`files::Error::OutputPlace`].
    pub fn create(path: &Path) -> Result<SvgFile> {
        require_ending(path, "svg", ".svg, for a picture")?;
        Ok(SvgFile { file: StagedFile::create(path)?, path: path.into() })
    }

    /// Writes what was drawn, or tells why nothing was, and puts the file in its place.
    ///
    /// # Errors
    /// [`files::Error::Encode`], [`files::Error::Write`], [`files::Error::NotInPlace`].
    pub fn finish(mut self, drawn: Result<String, String>) -> Result<()> {
        let svg = drawn.map_err(|problem| files::Error::Encode { path: self.path, format: "SVG", problem })?;
        self.file.write_all(svg.as_bytes()).map_err(|cause| self.file.error(cause))?;
        self.file.persist()?;
        Ok(())
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
