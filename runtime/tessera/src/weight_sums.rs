//! What a checkpoint has of weights, summed up by the part of the model and the type of elements.

use std::collections::{BTreeMap, HashSet};

use frontend::{Half, parameters};

use crate::error::Result;
use crate::vae::Vae;

/// Weights of one part of the model and one type of elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSum {
    /// `decoder`, `encoder`, or `other` for what neither reads.
    pub part: &'static str,
    /// The type of elements as it is on disk.
    pub dtype: String,
    /// How many tensors there are.
    pub tensors: u64,
    /// How many elements they have.
    pub elements: u64,
    /// Their size on disk.
    pub bytes: u64,
}

/// All weights of the checkpoint, those of a part behind each other.
///
/// # Errors
/// [`crate::Error::Declare`] if the model cannot be declared; one that is open can.
pub fn weight_sums(vae: &Vae) -> Result<Vec<WeightSum>> {
    let names = |half| -> Result<HashSet<String>> {
        Ok(parameters(vae.model(), half)?.into_iter().map(|(name, _)| name).collect())
    };
    let (encoder, decoder) = (names(Half::Encoder)?, names(Half::Decoder)?);
    let mut sums: BTreeMap<(&'static str, String), [u64; 3]> = BTreeMap::new();
    for (name, view) in vae.checkpoint().iter() {
        let part = match () {
            () if decoder.contains(name) => "decoder",
            () if encoder.contains(name) => "encoder",
            () => "other",
        };
        let elements: usize = view.shape.iter().product();
        let sum = sums.entry((part, view.dtype.to_string())).or_default();
        for (sum, number) in sum.iter_mut().zip([1, elements as u64, view.bytes.len() as u64]) {
            *sum += number;
        }
    }
    let sums = sums.into_iter();
    let sums =
        sums.map(|((part, dtype), [tensors, elements, bytes])| WeightSum { part, dtype, tensors, elements, bytes });
    Ok(sums.collect())
}
