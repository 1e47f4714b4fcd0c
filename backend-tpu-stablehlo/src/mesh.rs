//! Meshes of devices, and which axis of which tensor is cut along them.
//!
//! A program is written for whole tensors; Shardy, in the plugin's compiler, cuts it up by the
//! shardings of arguments and results, and adds what neighbours must exchange: the rows around a
//! cut for convolutions, the sums of group norms.

use std::fmt;
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
        "time cannot be shared out: every causal convolution of a step reads the frames that the step before left it, \
         so steps run in order; `data` and `height` can be"
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

    /// Along which axis a tensor is cut among which devices: a video by batch and height, anything
    /// else not at all.
    fn cuts(self, ty: &TensorType) -> impl Iterator<Item = (usize, &'static str, usize)> {
        let axes =
            ty.layout.video().map(|axes| [(axes.batch, "data", self.data), (axes.space[1], "height", self.height)]);
        axes.into_iter().flatten()
    }

    /// What each device has of an argument or a result. What does not divide is whole on every
    /// device: plugins hand nothing over in shares of different sizes.
    pub fn share(self, ty: &TensorType) -> TensorType {
        let mut share = ty.clone();
        for (axis, _, devices) in self.cuts(ty) {
            if ty.shape[axis].is_multiple_of(devices) {
                share.shape[axis] /= devices;
            }
        }
        share
    }

    /// The sharding of an argument or a result. Where an argument has none, plugins choose one, so
    /// that each has one.
    pub(crate) fn sharding(self, ty: &TensorType) -> String {
        format!(
            "sdy.sharding = #sdy.sharding{}",
            self.axes_cut(ty, |axis, devices| ty.shape[axis].is_multiple_of(devices))
        )
    }

    /// The sharding of an argument inside of the program, if that is another: there, what does not
    /// divide is cut as well.
    pub(crate) fn sharding_inside(self, ty: &TensorType) -> Option<String> {
        let is_uneven = self.cuts(ty).any(|(axis, _, devices)| !ty.shape[axis].is_multiple_of(devices));
        is_uneven.then(|| self.axes_cut(ty, |_, _| true))
    }

    fn axes_cut(self, ty: &TensorType, is_cut: impl Fn(usize, usize) -> bool) -> String {
        let mut axes = vec![String::new(); ty.rank()];
        for (axis, name, _) in self.cuts(ty).filter(|(axis, _, devices)| is_cut(*axis, *devices)) {
            axes[axis] = format!("{name:?}");
        }
        let axes: Vec<String> = axes.iter().map(|axis| format!("{{{axis}}}")).collect();
        format!("<@mesh, [{}]>", axes.join(", "))
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
        let ty = |layout| TensorType::with_layout(ElementType::F32, layout, [2, 3, 8, 8, 7]);
        let first = "sdy.sharding = #sdy.sharding<@mesh, [{\"data\"}, {}, {}, {\"height\"}, {}]>";
        assert_eq!(mesh.sharding(&ty(Layout::NCTHW)), first);
        let last = "sdy.sharding = #sdy.sharding<@mesh, [{\"data\"}, {}, {\"height\"}, {}, {}]>";
        assert_eq!(mesh.sharding(&ty(Layout::NTHWC)), last);
        let whole = "sdy.sharding = #sdy.sharding<@mesh, [{}]>";
        assert_eq!(mesh.sharding(&TensorType::plain(ElementType::F32, [9])), whole);
        assert_eq!(mesh.share(&ty(Layout::NTHWC)).shape.as_slice(), [1, 3, 2, 8, 7]);
        assert_eq!(mesh.sharding_inside(&ty(Layout::NCTHW)), None);
    }

    #[test]
    fn rows_that_do_not_divide_are_cut_inside_alone() {
        let mesh = Mesh { data: 1, height: 8 };
        let ty = TensorType::with_layout(ElementType::F32, Layout::NTHWC, [1, 2, 90, 160, 4]);
        assert_eq!(mesh.sharding(&ty), "sdy.sharding = #sdy.sharding<@mesh, [{\"data\"}, {}, {}, {}, {}]>");
        assert_eq!(mesh.sharding_inside(&ty).unwrap(), "<@mesh, [{\"data\"}, {}, {\"height\"}, {}, {}]>");
        assert_eq!(mesh.share(&ty), ty);
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
