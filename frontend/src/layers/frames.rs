//! The frames of a video as images of their own: samples of the batch, videos of one frame each.

use ir::{ElementType, Layout, TensorType, Value};
use smallvec::smallvec;

use super::{Built, channels, space};
use crate::declaration::Declaration;

/// What `make` makes of the frames of a video as samples, `[batch * time, channel, 1, height,
/// width]`, as a video again.
pub(crate) fn frame_by_frame(
    d: &mut Declaration<'_>,
    video: Value,
    make: impl FnOnce(&mut Declaration<'_>, Value) -> Built,
) -> Built {
    let (batch, [frames, ..]) = (d.ty(video).shape[0], space(d, video));
    let images = regrouped(d, video, batch * frames, 1)?;
    let made = make(d, images)?;
    frames_joined(d, made, batch)
}

/// The samples that [`frame_by_frame`] gave as the video that they are the frames of, of so many
/// samples.
pub(crate) fn frames_joined(d: &mut Declaration<'_>, images: Value, batch: usize) -> Built {
    let frames = d.ty(images).shape[0] / batch;
    regrouped(d, images, batch, frames)
}

/// All frames, in their order, as those of so many samples. Declared channel-last, where it is a
/// view.
fn regrouped(d: &mut Declaration<'_>, video: Value, batch: usize, frames: usize) -> Built {
    if d.ty(video).shape[0] == batch {
        return Ok(video);
    }
    let (count, [_, height, width]) = (channels(d, video), space(d, video));
    let last = d.transpose(video, smallvec![0, 2, 3, 4, 1])?;
    let ty = TensorType::with_layout(ElementType::F32, Layout::NTHWC, [batch, frames, height, width, count]);
    let last = d.reshape(last, ty)?;
    d.transpose(last, smallvec![0, 4, 1, 2, 3])
}
