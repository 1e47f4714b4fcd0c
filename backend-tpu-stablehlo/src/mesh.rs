//! Meshes of devices, and which axis of which tensor is cut along them.
//!
//! A program is written for whole tensors; Shardy, in the plugin's compiler, cuts it up by the shardings of arguments and
//! results, and adds what neighbours must exchange: the rows around a cut for convolutions, the sums of group norms.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use ir::TensorType;

/// Devices in a rectangle: `data` shares of the batch times `height` strips of the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Devices that the samples of a batch are shared out to.
    pub data: usize,
    /// Devices that the rows of each frame are shared out to.
    pub height: usize,
}

/// The text is no mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// Time was to be cut.
    #[error(
        "time cannot be shared out: every causal convolution of a step reads the frames that the step before left it, so steps \
         run in order; `data` and `height` can be"
    )]
    Time,
    /// Anything else.
    #[error("`{0}` is no mesh: expected axes and numbers of devices, such as data=2,height=4")]
    Text(String),
}

impl Mesh {
    /// One device.
    pub const SINGLE: Mesh = Mesh { data: 1, height: 1 };

    /// All devices.
    pub const fn devices(self) -> usize {
        self.data * self.height
    }

    /// The declaration in a module.
    pub(crate) fn declaration(self) -> String {
        format!("sdy.mesh @mesh = <[\"data\"={}, \"height\"={}]>", self.data, self.height)
    }

    /// The sharding of a tensor: a video by batch and height, anything else whole on every device. Where an argument has none,
    /// plugins choose one, so that each has one.
    pub(crate) fn sharding(self, ty: &TensorType) -> String {
        let axes = ty.layout.video();
        let mut text = "sdy.sharding = #sdy.sharding<@mesh, [".to_owned();
        for axis in 0..ty.rank() {
            let cut = match axes {
                Some(axes) if axis == axes.batch => "\"data\"",
                Some(axes) if axis == axes.space[1] => "\"height\"",
                _ => "",
            };
            let comma = if axis > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}{{{cut}}}");
        }
        text + "]>"
    }
}

/// Prints as `data=2,height=4`.
impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data={},height={}", self.data, self.height)
    }
}

impl FromStr for Mesh {
    type Err = MeshError;

    fn from_str(text: &str) -> Result<Self, MeshError> {
        let unknown = || MeshError::Text(text.to_owned());
        let (mut data, mut height) = (None, None);
        for part in text.split(',') {
            let (axis, devices) = part.split_once('=').ok_or_else(unknown)?;
            let place = match axis.trim() {
                "data" => &mut data,
                "height" => &mut height,
                "time" | "frames" => return Err(MeshError::Time),
                _ => return Err(unknown()),
            };
            let devices = devices.trim().parse().ok().filter(|&devices| (1..=1 << 16).contains(&devices));
            if place.replace(devices.ok_or_else(unknown)?).is_some() {
                return Err(unknown());
            }
        }
        Ok(Mesh { data: data.unwrap_or(1), height: height.unwrap_or(1) })
    }
}

#[cfg(test)]
mod tests {
    use ir::{ElementType, Layout};

    use super::*;

    #[test]
    fn videos_are_cut_along_batch_and_height() {
        let mesh = Mesh { data: 2, height: 4 };
        let ty = |layout| TensorType::with_layout(ElementType::F32, layout, [2, 3, 5, 8, 7]);
        let first = "sdy.sharding = #sdy.sharding<@mesh, [{\"data\"}, {}, {}, {\"height\"}, {}]>";
        assert_eq!(mesh.sharding(&ty(Layout::Ncthw)), first);
        let last = "sdy.sharding = #sdy.sharding<@mesh, [{\"data\"}, {}, {\"height\"}, {}, {}]>";
        assert_eq!(mesh.sharding(&ty(Layout::Nthwc)), last);
        let whole = "sdy.sharding = #sdy.sharding<@mesh, [{}]>";
        assert_eq!(mesh.sharding(&TensorType::plain(ElementType::F32, [9])), whole);
    }

    #[test]
    fn text() {
        let mesh = |text: &str| text.parse::<Mesh>();
        assert_eq!(mesh("data=2, height=4"), Ok(Mesh { data: 2, height: 4 }));
        assert_eq!(mesh("height=4").unwrap().to_string(), "data=1,height=4");
        assert!(mesh("time=2").unwrap_err().to_string().contains("steps run in order"));
        for text in ["", "height", "height=0", "height=2,height=2", "width=2", "data=x"] {
            assert_eq!(mesh(text), Err(MeshError::Text(text.into())));
        }
    }
}
