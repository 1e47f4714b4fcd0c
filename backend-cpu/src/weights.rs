//! Weights: tensors of a checkpoint in the form in which kernels read them, made once and shared by
//! all programs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use half::bf16;
use ir::recipe::MakeError;
use ir::{Dims, Layout, Op, Recipe, TensorType};

use crate::blocking::Algorithm;
use crate::buffer::{AlignedBuffer, BufferError};
use crate::element::Element;
use crate::isa::Isa;
use crate::pack::{PackedWeights, WeightAxes, WeightView, pack};
use crate::packing::Packing;
use crate::panel::PanelFamily;
use crate::winograd::pack_transformed;

/// Where parameters come from: a checkpoint.
pub trait ParameterSource: Send + Sync {
    /// The elements of the parameter `name`, row-major in the shape of `ty`.
    ///
    /// # Errors
    /// When there is no such tensor, or it has another shape: in words for the person who chose the
    /// checkpoint.
    fn parameter(
        &self,
        name: &str,
        ty: &TensorType,
    ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>>;

    /// Told when the parameter was read: it is not needed again soon.
    fn release(&self, _name: &str) {}
}

/// Why weights could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The source refused.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// The source gave another number of elements than it was asked for.
    #[error("parameter `{name}` has {found} elements, expected {ty}")]
    Elements {
        /// Which parameter.
        name: String,
        /// What was asked for.
        ty: TensorType,
        /// Elements given.
        found: usize,
    },
    /// Not enough memory.
    #[error(transparent)]
    Memory(#[from] BufferError),
    /// No kernel reads such weights.
    #[error("weights must be f32 or bf16 on this backend, found {0}")]
    Element(TensorType),
    /// Weights that are computed from parameters could not be.
    #[error("computing weights failed: {0}")]
    Compute(String),
}

/// The form of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WeightFormat {
    /// Row-major, in the elements of its type.
    Dense,
    /// For the panels of a convolution.
    Packed(Packing),
}

/// Weights in memory.
pub(crate) enum Data {
    Dense(AlignedBuffer<u8>),
    Packed(PackedWeights),
}

impl Data {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Dense(buffer) => buffer,
            Self::Packed(packed) => bytemuck::cast_slice(packed.values()),
        }
    }
}

/// The weights of one checkpoint, made when a program first needs them.
pub struct Weights {
    source: Arc<dyn ParameterSource>,
    made: Mutex<HashMap<(String, WeightFormat), Arc<Data>>>,
}

impl Weights {
    /// No weights yet.
    pub fn new(source: Arc<dyn ParameterSource>) -> Self {
        Self { source, made: Mutex::default() }
    }

    /// Bytes of all weights made so far.
    pub fn bytes(&self) -> usize {
        let made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        made.values().map(|data| data.bytes().len()).sum()
    }

    /// The weights of `recipe` in `form`.
    pub(crate) fn get(&self, recipe: &Recipe, format: WeightFormat, isa: Isa) -> Result<Arc<Data>, WeightError> {
        let key = (recipe.key().to_owned(), format);
        let lock = || self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(data) = lock().get(&key) {
            return Ok(data.clone());
        }
        let data = Arc::new(self.make(recipe, format, isa)?);
        for (_, node) in recipe.graph().nodes() {
            if let Op::Parameter { name, .. } = &node.op {
                self.source.release(name);
            }
        }
        Ok(lock().entry(key).or_insert(data).clone())
    }

    fn make(&self, recipe: &Recipe, format: WeightFormat, isa: Isa) -> Result<Data, WeightError> {
        let ty = recipe.ty();
        let element = Element::of(ty.element).ok_or_else(|| WeightError::Element(ty.clone()))?;
        match (format, recipe.as_view()) {
            (WeightFormat::Packed(packing), Some(view)) => {
                let values = rounded(self.parameter(view.name, view.ty)?, element);
                Ok(Data::Packed(pack_strided(&values, ty, &view.strides, isa, packing)?))
            }
            (WeightFormat::Packed(packing), None) => {
                let values = self.values(recipe)?;
                Ok(Data::Packed(pack_strided(&values, ty, &ty.strides(), isa, packing)?))
            }
            (WeightFormat::Dense, _) => Ok(Data::Dense(dense(&self.values(recipe)?, element)?)),
        }
    }

    fn parameter(&self, name: &str, ty: &TensorType) -> Result<Cow<'_, [f32]>, WeightError> {
        let values = self.source.parameter(name, ty).map_err(WeightError::Source)?;
        if values.len() != ty.elements() {
            return Err(WeightError::Elements { name: name.to_owned(), ty: ty.clone(), found: values.len() });
        }
        Ok(values)
    }

    /// The elements of the weight that `recipe` makes.
    fn values(&self, recipe: &Recipe) -> Result<Cow<'_, [f32]>, WeightError> {
        recipe.make(|name, ty| self.parameter(name, ty)).map_err(|cause| match cause {
            MakeError::Parameter(error) => error,
            MakeError::Evaluate(cause) => WeightError::Compute(cause.to_string()),
        })
    }
}

/// The values, each the nearest `element`.
fn rounded(mut values: Cow<'_, [f32]>, element: Element) -> Cow<'_, [f32]> {
    match element {
        Element::F32 => {}
        Element::Bf16 => {
            let nearest = |value: f32| bf16::from_f32(value).to_f32();
            // Those of a checkpoint in bf16 are bf16 already.
            if values.iter().any(|&value| nearest(value).to_bits() != value.to_bits()) {
                values.to_mut().iter_mut().for_each(|value| *value = nearest(*value));
            }
        }
    }
    values
}

/// The values in memory as elements.
fn dense(values: &[f32], element: Element) -> Result<AlignedBuffer<u8>, BufferError> {
    let mut buffer = AlignedBuffer::zeroed(values.len() * element.bytes())?;
    match element {
        Element::F32 => buffer.copy_from_slice(bytemuck::cast_slice(values)),
        Element::Bf16 => {
            let elements: &mut [u16] = bytemuck::cast_slice_mut(&mut buffer);
            elements.iter_mut().zip(values).for_each(|(to, &value)| *to = bf16::from_f32(value).to_bits());
        }
    }
    Ok(buffer)
}

fn pack_strided(
    values: &[f32],
    ty: &TensorType,
    strides: &Dims,
    isa: Isa,
    Packing { algorithm, taps, .. }: Packing,
) -> Result<PackedWeights, WeightError> {
    let axes = ty.layout.kernel().filter(|_| ty.layout == Layout::DHWIO);
    let axes = axes.ok_or_else(|| WeightError::Compute(format!("convolution weights must be dhwio, found {ty}")))?;
    let along = |of: &Dims| WeightAxes {
        output: of[axes.output],
        input: of[axes.input],
        depth: of[axes.space[0]],
        height: of[axes.space[1]],
        width: of[axes.space[2]],
    };
    let family = PanelFamily::for_columns(isa, algorithm.factors(), ty.shape[axes.output]);
    let view =
        WeightView::new(values, along(&ty.shape), along(strides)).map_err(|e| WeightError::Compute(e.to_string()))?;
    let view = view.taps_over_time(taps);
    Ok(match algorithm {
        Algorithm::Direct | Algorithm::Dot => pack(view, family)?,
        _ => pack_transformed(view, family, algorithm)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters that are 1.5 everywhere.
    struct Same;

    impl ParameterSource for Same {
        fn parameter(
            &self,
            _name: &str,
            ty: &TensorType,
        ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(Cow::Owned(vec![1.5; ty.elements()]))
        }
    }

    #[test]
    fn weights_are_in_their_elements_or_refused() {
        let weights = Weights::new(Arc::new(Same));
        for element in ir::ElementType::ALL {
            let graph = ir::text::parse(&format!(
                "graph @g {{\n%0 = parameter {{name = \"w\"}} : tensor<3xf32>\n\
                 %1 = convert %0 {{element = {element}}} : tensor<3x{element}>\nreturn result \"y\" = %1\n}}"
            ));
            let graph = graph.unwrap();
            let made = weights.get(&Recipe::of(&graph, graph.outputs()[0].value), WeightFormat::Dense, Isa::Portable);
            match Element::of(element) {
                Some(Element::F32) => assert_eq!(made.unwrap().bytes(), [1.5_f32; 3].map(f32::to_ne_bytes).concat()),
                Some(Element::Bf16) => {
                    assert_eq!(made.unwrap().bytes(), [bf16::from_f32(1.5); 3].map(bf16::to_ne_bytes).concat());
                }
                None => assert!(matches!(made, Err(WeightError::Element(ty)) if ty.element == element)),
            }
        }
    }
}
