//! A folder of PNGs: `frame-00000.png` and so on, 8-bit RGB or RGBA; for a batch in subfolders `0`, `1` and
//! so on.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use files::staging::StagedFolder;
use png::EncodingError;

use super::png_file::{encode, size};
use super::writer::{ClipWriter, Output, Progress};
use crate::clip::{ClipShape, FrameBlock};
use crate::colour::frame_pixels;
use crate::error::Result;

pub(super) struct PngFolder {
    folder: StagedFolder,
    shape: ClipShape,
    size: [u32; 2],
    progress: Progress,
    bytes: u64,
    rgb: Vec<u8>,
}

impl PngFolder {
    pub(super) fn create(path: &Path, shape: ClipShape) -> Result<PngFolder> {
        let size = size(path, shape)?;
        let folder = StagedFolder::create(path, is_ours)?;
        Ok(PngFolder { folder, shape, size, progress: Progress::new(path, shape), bytes: 0, rgb: vec![] })
    }

    /// Where a sample's frames go for now.
    fn sample_folder(&self, sample: usize) -> PathBuf {
        let root = self.folder.staged();
        if self.shape.batch == 1 { root } else { root.join(sample.to_string()) }
    }

    fn write_frame(&self, path: &Path) -> Result<u64, EncodingError> {
        let file = BufWriter::new(File::create_new(path)?);
        encode(file, self.size, self.shape.channels, &self.rgb)?;
        Ok(fs::metadata(path)?.len())
    }
}

/// Whether an entry of an output folder was written by us: a frame, or a sample's subfolder with
/// nothing but frames.
fn is_ours(path: &Path) -> bool {
    let is_folder = path.is_dir() && !path.is_symlink();
    if !is_folder {
        return is_frame(path);
    }
    let named_by_number = name(path).parse::<usize>().is_ok();
    named_by_number
        && fs::read_dir(path).is_ok_and(|mut entries| {
            entries.all(|entry| entry.is_ok_and(|entry| !entry.path().is_dir() && is_frame(&entry.path())))
        })
}

fn is_frame(path: &Path) -> bool {
    let number = name(path).strip_prefix("frame-").and_then(|rest| rest.strip_suffix(".png"));
    number.is_some_and(|number| number.parse::<usize>().is_ok())
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

impl ClipWriter for PngFolder {
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()> {
        let first = self.progress.advance(sample, frames)?;
        let folder = self.sample_folder(sample);
        fs::create_dir_all(&folder).map_err(|cause| self.folder.error(cause))?;
        for t in 0..frames.frames {
            frame_pixels(self.shape, frames, t, &mut self.rgb);
            let path = folder.join(format!("frame-{:05}.png", first + t));
            self.bytes += self.write_frame(&path).map_err(|cause| match cause {
                EncodingError::IoError(cause) => self.folder.error(cause),
                other => files::Error::Encode { path: path.clone(), format: "PNG", problem: other.to_string() },
            })?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        let path = self.folder.persist()?;
        let paths = match self.shape.batch {
            1 => vec![path],
            batch => (0..batch).map(|sample| path.join(sample.to_string())).collect(),
        };
        Ok(Output { paths, bytes: self.bytes })
    }
}
