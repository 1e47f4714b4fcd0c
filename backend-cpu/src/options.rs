//! What a graph is compiled for, and what is chosen for it beforehand. Choosing is
//! `instruction_selection`'s.

use std::collections::HashMap;

use ir::Recipe;

use crate::blocking::Algorithm;
use crate::packing::Packing;
use crate::target::Target;

/// What a graph is compiled for. Made of a [`Target`] or an instruction set, and the methods
/// `with_...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompileOptions<'a> {
    /// The instruction set of its kernels, and what may be assumed of the CPU.
    pub target: Target,
    /// The one algorithm for convolutions that it can compute; the others stay direct. By default
    /// each is chosen by its estimated cost.
    pub algorithm: Option<Algorithm>,
    /// Algorithms that another program has chosen, for convolutions with the same weights that they
    /// can compute: packed weights are then shared, which every algorithm wants in another
    /// form.
    pub choices: Option<&'a Choices>,
}

impl<T: Into<Target>> From<T> for CompileOptions<'_> {
    fn from(target: T) -> Self {
        Self { target: target.into(), algorithm: None, choices: None }
    }
}

impl<'a> CompileOptions<'a> {
    /// Sets [`Self::algorithm`].
    #[must_use]
    pub fn with_algorithm(self, algorithm: impl Into<Option<Algorithm>>) -> Self {
        Self { algorithm: algorithm.into(), ..self }
    }

    /// Sets [`Self::choices`].
    #[must_use]
    pub fn with_choices(self, choices: &'a Choices) -> Self {
        Self { choices: Some(choices), ..self }
    }
}

/// How a program has packed each weight that a convolution reads, and so by which algorithm it
/// computes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(HashMap<String, Packing>);

impl Choices {
    /// The form of the weight that `recipe` makes.
    pub(crate) fn get(&self, recipe: &Recipe) -> Option<Packing> {
        self.0.get(recipe.key()).copied()
    }
}

impl FromIterator<(Recipe, Packing)> for Choices {
    fn from_iter<I: IntoIterator<Item = (Recipe, Packing)>>(choices: I) -> Self {
        Self(choices.into_iter().map(|(recipe, packing)| (recipe.key().to_owned(), packing)).collect())
    }
}
