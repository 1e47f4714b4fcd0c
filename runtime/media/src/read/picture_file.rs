//! A file of one picture, or of an animation of them, upright: PNG, JPEG or WebP.

use super::clip_file::ClipFile;
use super::content::Content;
use super::jpeg::Jpeg;
use super::orientation::upright;
use super::pictures::PictureSource;
use super::png::Png;
use super::webp::WebP;
use crate::error::Result;

/// The picture or pictures in a file of this content; of an animation the first `frames` will be
/// read, or all.
pub(super) fn open(clip: &ClipFile, content: Content, frames: Option<usize>) -> Result<Box<dyn PictureSource>> {
    Ok(match content {
        Content::Jpeg => {
            let jpeg = Jpeg::open(clip)?;
            let orientation = jpeg.orientation();
            upright(jpeg, orientation)
        }
        Content::WebP => {
            let webp = WebP::open(clip, frames)?;
            let orientation = webp.orientation();
            upright(webp, orientation)
        }
        _ => {
            let png = Png::open(clip, frames)?;
            let orientation = png.orientation();
            upright(png, orientation)
        }
    })
}
