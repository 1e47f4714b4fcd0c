//! A folder of PNGs, JPEGs and WebPs, a frame each, in the natural order of their names (`2.png`
//! before `10.png`).

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use super::clip_file::ClipFile;
use super::content::Content;
use super::picture_file;
use super::pictures::{PictureShape, PictureSource};
use crate::error::{Result, bad};

pub(super) struct Folder {
    pictures: Vec<PathBuf>,
    shape: PictureShape,
    done: usize,
}

impl Folder {
    /// Looks at the head of every picture. A file is one if it begins or is named as one; others
    /// and hidden ones are passed over.
    pub(super) fn open(path: &Path) -> Result<Folder> {
        Folder::of(Folder::pictures(path)?)
    }

    /// The pictures in a folder, in their order.
    pub(super) fn pictures(path: &Path) -> Result<Vec<PathBuf>> {
        let read_error = |cause| files::Error::Read { path: path.into(), cause };
        let mut pictures = vec![];
        let mut has_folders = false;
        for entry in fs::read_dir(path).map_err(read_error)? {
            let entry = entry.map_err(read_error)?.path();
            // Opening a named pipe would wait for a writer.
            let is_special = fs::metadata(&entry).is_ok_and(|found| !found.is_file() && !found.is_dir());
            let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if entry.is_dir() {
                has_folders = true;
            } else if !hidden && !is_special && is_picture(&entry) {
                pictures.push(entry);
            }
        }
        if pictures.is_empty() {
            let hint = if has_folders { "; give one of its subfolders" } else { "" };
            return Err(bad(path, format!("no PNG, JPEG or WebP in this folder{hint}")));
        }
        pictures.sort_by(|a, b| natural_order(&name(a), &name(b)));
        Ok(pictures)
    }

    /// Looks at the head of every picture.
    fn of(pictures: Vec<PathBuf>) -> Result<Folder> {
        let shape = PictureShape { frames: Some(pictures.len()), ..frame(&pictures[0])?.shape() };
        let folder = Folder { shape, pictures, done: 0 };
        for picture in &folder.pictures[1..] {
            folder.check(picture, frame(picture)?.shape())?;
        }
        Ok(folder)
    }

    fn check(&self, picture: &Path, shape: PictureShape) -> Result<()> {
        if (shape.width, shape.height) == (self.shape.width, self.shape.height) {
            return Ok(());
        }
        Err(bad(
            picture,
            format!(
                "it is {}x{} (width x height) and `{}` is {}x{}; the pictures of a clip are of one size",
                shape.width,
                shape.height,
                name(&self.pictures[0]),
                self.shape.width,
                self.shape.height
            ),
        ))
    }
}

/// Whether a file is meant to be a frame.
fn is_picture(path: &Path) -> bool {
    let named = Content::of_ending(path).is_some_and(Content::is_picture);
    // Opening a named pipe would wait for a writer.
    named || path.is_file() && matches!(content(path), Ok(Some(content)) if content.is_picture())
}

/// What a file is.
fn content(path: &Path) -> Result<Option<Content>> {
    Content::of(&ClipFile::open(path)?)
}

/// The one picture in a file of a folder.
fn frame(path: &Path) -> Result<Box<dyn PictureSource>> {
    let found = fs::metadata(path).map_err(|cause| files::Error::Read { path: path.into(), cause })?;
    if !found.is_file() {
        return Err(bad(path, "it is named as a picture, and is no regular file"));
    }
    let clip = ClipFile::open(path)?;
    let content = Content::of(&clip)?.filter(|content| content.is_picture());
    let content = content.ok_or_else(|| bad(path, "it is named as a picture, and is no PNG, JPEG or WebP"))?;
    let source = picture_file::open(&clip, content, None)?;
    match source.shape().frames {
        Some(1) => Ok(source),
        _ => Err(bad(path, "it is an animation of several frames; a folder has one in a file, give this file alone")),
    }
}

impl PictureSource for Folder {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        let Some(path) = self.pictures.get(self.done) else { return Ok(false) };
        let mut source = frame(path)?;
        self.check(path, source.shape())?;
        if !source.next(rgb)? {
            return Err(bad(path, "it has no picture"));
        }
        self.done += 1;
        Ok(true)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs of digits compare as numbers, all else as text; names that are the same so far compare as
/// text.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (digits_a, after_a) = digits(rest_a);
        let (digits_b, after_b) = digits(rest_b);
        if !digits_a.is_empty() && !digits_b.is_empty() {
            let (number_a, number_b) = (digits_a.trim_start_matches('0'), digits_b.trim_start_matches('0'));
            let order = number_a.len().cmp(&number_b.len()).then(number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            (rest_a, rest_b) = (after_a, after_b);
            continue;
        }
        let (mut chars_a, mut chars_b) = (rest_a.chars(), rest_b.chars());
        match (chars_a.next(), chars_b.next()) {
            (Some(first_a), Some(first_b)) if first_a == first_b => {
                (rest_a, rest_b) = (chars_a.as_str(), chars_b.as_str())
            }
            (None, None) => return a.cmp(b),
            (first_a, first_b) => return first_a.cmp(&first_b),
        }
    }
}

/// The digits that a text begins with, and what is behind them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = [
            "f10.png",
            "f9.png",
            "f010.png",
            "a2b10",
            "a2b9",
            "f.png",
            "",
            "é1",
            "f9",
            "10",
            "9",
            "99999999999999999999999999",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "",
                "9",
                "10",
                "99999999999999999999999999",
                "a2b9",
                "a2b10",
                "f.png",
                "f9",
                "f9.png",
                "f010.png",
                "f10.png",
                "é1"
            ]
        );
    }
}
