//! Formats with one file a sample: frames become pixels here and go to the sample's own encoder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use files::staging::StagedFile;

use super::sink::{FrameSink, Opened};
use super::writer::{ClipWriter, Output, Progress};
use crate::clip::{ClipShape, FrameBlock};
use crate::colour::frame_pixels;
use crate::error::Result;

type Open = Box<dyn Fn(&Path) -> Opened<'static, StagedFile> + Send>;

/// A file for each sample; one encoder at a time is open.
pub(super) struct PictureFiles {
    paths: Vec<PathBuf>,
    shape: ClipShape,
    progress: Progress,
    open: Open,
    current: Option<Box<dyn FrameSink<StagedFile>>>,
    complete: Vec<StagedFile>,
    rgb: Vec<u8>,
}

impl PictureFiles {
    /// Opens the first sample's file, so that what is wrong with the place or the clip is found
    /// now.
    pub(super) fn create(
        path: &Path,
        shape: ClipShape,
        open: impl Fn(&Path) -> Opened<'static, StagedFile> + Send + 'static,
    ) -> Result<PictureFiles> {
        let paths = sample_paths(path, shape.batch);
        for path in &paths[1..] {
            // Its place is looked at, and the file made when its turn comes.
            drop(StagedFile::create(path)?);
        }
        let current = Some(open(&paths[0]).map_err(|fault| fault.of_file(&paths[0]))?);
        let progress = Progress::new(path, shape);
        Ok(PictureFiles { paths, shape, progress, open: Box::new(open), current, complete: vec![], rgb: vec![] })
    }
}

/// `clip.mp4` -> `clip.mp4`, or for a batch `clip-0.mp4`, `clip-1.mp4`.
pub(super) fn sample_paths(path: &Path, batch: usize) -> Vec<PathBuf> {
    if batch == 1 {
        return vec![path.into()];
    }
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_os_string();
    (0..batch)
        .map(|sample| {
            let mut name: OsString = part(path.file_stem());
            name.push(format!("-{sample}."));
            name.push(part(path.extension()));
            path.with_file_name(name)
        })
        .collect()
}

impl ClipWriter for PictureFiles {
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()> {
        self.progress.advance(sample, frames)?;
        let path = &self.paths[sample];
        let mut sink = match self.current.take() {
            Some(sink) => sink,
            None => (self.open)(path).map_err(|fault| fault.of_file(path))?,
        };
        for t in 0..frames.frames {
            frame_pixels(self.shape, frames, t, &mut self.rgb);
            sink.frame(&self.rgb).map_err(|fault| fault.of_file(path))?;
        }
        if self.progress.sample > sample {
            self.complete.push(sink.finish().map_err(|fault| fault.of_file(path))?);
        } else {
            self.current = Some(sink);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        let mut output = Output { paths: vec![], bytes: 0 };
        for file in self.complete {
            let (path, bytes) = file.persist()?;
            output.paths.push(path);
            output.bytes += bytes;
        }
        Ok(output)
    }
}
