//! Python's arrays as the library takes them, and as it fills them. Elements of 16 bits, which NumPy
//! has no names for or names that Rust does not know, come as their bits.

use std::borrow::Cow;
use std::ops::Range;

use half::{bf16, f16};
use numpy::ndarray::{ArrayViewD, Axis};
use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use tessera::FramePlaces;
use tessera::media::FrameBlock;

use crate::errors::InputError;

/// What 16 bits are.
#[derive(Clone, Copy)]
pub(crate) enum Bits {
    F16,
    Bf16,
}

impl Bits {
    /// Of elements of this name; `None` of those that are f32.
    fn of(element: &str) -> PyResult<Option<Self>> {
        match element {
            "f32" => Ok(None),
            "f16" => Ok(Some(Self::F16)),
            "bf16" => Ok(Some(Self::Bf16)),
            _ => Err(InputError::new_err(format!("elements are f32, f16 or bf16, found {element}"))),
        }
    }

    fn value(self, bits: u16) -> f32 {
        match self {
            Self::F16 => f16::from_bits(bits).to_f32(),
            Self::Bf16 => bf16::from_bits(bits).to_f32(),
        }
    }

    /// Writes values, rounded to the nearest.
    fn write(self, to: &mut [u16], values: &[f32]) {
        let bits = |value: f32| match self {
            Self::F16 => f16::from_f32(value).to_bits(),
            Self::Bf16 => bf16::from_f32(value).to_bits(),
        };
        to.iter_mut().zip(values).for_each(|(to, &value)| *to = bits(value));
    }
}

/// An array that is read, [B, C, T, H, W] whatever its strides.
pub(crate) enum Input<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    Halves(PyReadonlyArrayDyn<'py, u16>, Bits),
}

impl<'py> Input<'py> {
    /// An array whose elements are `f32`, `f16` or `bf16`, the latter two as their bits.
    pub(crate) fn new(array: &Bound<'py, PyAny>, element: &str) -> PyResult<Self> {
        Ok(match Bits::of(element)? {
            None => Self::F32(array.extract()?),
            Some(bits) => Self::Halves(array.extract()?, bits),
        })
    }

    /// [B, C, T, H, W].
    pub(crate) fn shape(&self) -> PyResult<[usize; 5]> {
        let shape = match self {
            Self::F32(array) => array.shape(),
            Self::Halves(array, _) => array.shape(),
        };
        shape.try_into().map_err(|_| InputError::new_err(format!("expected [B, C, T, H, W], found {shape:?}")))
    }

    /// A view that other threads may have, while this one waits for them.
    pub(crate) fn view(&self) -> InputView<'_> {
        match self {
            Self::F32(array) => match array.as_slice() {
                Ok(values) => InputView::Values(values),
                Err(_) => InputView::Other(OtherView::F32(array.as_array())),
            },
            Self::Halves(array, bits) => InputView::Other(OtherView::Halves(array.as_array(), *bits)),
        }
    }
}

/// The values of an [`Input`].
pub(crate) enum InputView<'a> {
    /// Row-major f32: what the library reads in its place.
    Values(&'a [f32]),
    /// What has to be put in order, or converted.
    Other(OtherView<'a>),
}

/// Values in another order than row-major, or of other elements than f32.
pub(crate) enum OtherView<'a> {
    F32(ArrayViewD<'a, f32>),
    Halves(ArrayViewD<'a, u16>, Bits),
}

impl InputView<'_> {
    /// All values, row-major: copied where they are not.
    pub(crate) fn values(&self) -> Cow<'_, [f32]> {
        match self {
            Self::Values(values) => Cow::Borrowed(values),
            Self::Other(OtherView::F32(view)) => view.iter().copied().collect(),
            Self::Other(OtherView::Halves(view, bits)) => view.iter().map(|&value| bits.value(value)).collect(),
        }
    }
}

impl OtherView<'_> {
    /// Frames of a sample, [C, T, H, W].
    pub(crate) fn frames(&self, sample: usize, frames: Range<usize>) -> Vec<f32> {
        match self {
            Self::F32(view) => cut(view, sample, frames).iter().copied().collect(),
            Self::Halves(view, bits) => cut(view, sample, frames).iter().map(|&value| bits.value(value)).collect(),
        }
    }
}

fn cut<'a, T>(view: &'a ArrayViewD<'_, T>, sample: usize, frames: Range<usize>) -> ArrayViewD<'a, T> {
    let mut cut = view.view();
    cut.index_axis_inplace(Axis(0), sample);
    cut.slice_axis_inplace(Axis(1), frames.into());
    cut
}

/// An array that is written: row-major, of the shape of a result.
pub(crate) enum Output<'py> {
    F32(PyReadwriteArrayDyn<'py, f32>),
    Halves(PyReadwriteArrayDyn<'py, u16>, Bits),
}

impl<'py> Output<'py> {
    /// As [`Input::new`].
    pub(crate) fn new(array: &Bound<'py, PyAny>, element: &str) -> PyResult<Self> {
        Ok(match Bits::of(element)? {
            None => Self::F32(array.extract()?),
            Some(bits) => Self::Halves(array.extract()?, bits),
        })
    }

    /// Its values, row-major.
    fn values(&mut self) -> PyResult<To<'_>> {
        let no_slice = |_| InputError::new_err("the array of the result is not row-major");
        Ok(match self {
            Self::F32(array) => To::F32(array.as_slice_mut().map_err(no_slice)?),
            Self::Halves(array, bits) => To::Halves(array.as_slice_mut().map_err(no_slice)?, *bits),
        })
    }

    /// What puts frames into it, of a result of this shape.
    pub(crate) fn filler(&mut self, shape: [usize; 5]) -> PyResult<Filler<'_>> {
        let found = match self {
            Self::F32(array) => array.shape(),
            Self::Halves(array, _) => array.shape(),
        };
        if found != shape {
            return Err(InputError::new_err(format!("the result is of shape {shape:?}, its array of {found:?}")));
        }
        Ok(Filler { to: self.values()?, places: FramePlaces::new(shape) })
    }
}

impl To<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Halves(bits, _) => bits.len(),
        }
    }
}

/// Row-major values of an [`Output`].
enum To<'a> {
    F32(&'a mut [f32]),
    Halves(&'a mut [u16], Bits),
}

/// Puts the frames of a result, which come a block at a time, where they belong.
pub(crate) struct Filler<'a> {
    to: To<'a>,
    places: FramePlaces,
}

impl Filler<'_> {
    /// The next frames of a sample.
    pub(crate) fn add(&mut self, sample: usize, block: &FrameBlock<'_>) {
        for (place, values) in self.places.next(sample, block) {
            match &mut self.to {
                To::F32(to) => to[place].copy_from_slice(values),
                To::Halves(to, bits) => bits.write(&mut to[place], values),
            }
        }
    }
}

/// Copies an array to another of the same shape, whatever the elements of both are.
///
/// # Errors
/// `InputError` if shapes differ.
#[pyfunction]
pub(crate) fn convert(given: (Bound<'_, PyAny>, String), to: (Bound<'_, PyAny>, String)) -> PyResult<()> {
    let (input, mut output) = (Input::new(&given.0, &given.1)?, Output::new(&to.0, &to.1)?);
    let (view, to) = (input.view(), output.values()?);
    let values = view.values();
    if values.len() != to.len() {
        return Err(InputError::new_err(format!("{} values do not fit {}", values.len(), to.len())));
    }
    match to {
        To::F32(to) => to.copy_from_slice(&values),
        To::Halves(to, bits) => bits.write(to, &values),
    }
    Ok(())
}
