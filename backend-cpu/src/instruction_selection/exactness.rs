//! Which convolutions leave F(4x4) to the others and are computed with smaller rounding errors.
//!
//! F(4x4) rounds about two and a half times as much as a sum of products, F(2x2) about as much. In a
//! decoder every layer adds a like share to the error of the result, but not to the time: those of
//! the lowest resolution take little of it. They pay for the error of all. The convolutions that lose
//! the least time are taken, until a share of the step's time is spent: a decoder of images that was
//! measured then has 1.9 times the error of PyTorch's f32 in place of 2.3. Where activations are bf16,
//! their rounding hides that of any algorithm, and nothing is spent.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::blocking::{Algorithm, Problem, choose};
use crate::element::Element;

/// Of the estimated time of a step's convolutions, what may be spent on smaller errors.
const SHARE: f64 = 0.04;

/// Of these convolutions, each under a name, those that are computed without F(4x4).
pub(super) fn exact<N: Eq + Hash>(convolutions: impl IntoIterator<Item = (N, Problem)>) -> HashSet<N> {
    let mut known = HashMap::new();
    let (mut time, mut losses) = (0.0, vec![]);
    for (name, problem) in convolutions {
        let (least, loss) = *known.entry(problem).or_insert_with(|| least_and_loss(&problem));
        time += least;
        losses.extend(loss.map(|loss| (loss, name)));
    }
    losses.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut left = SHARE * time;
    let affordable = losses.into_iter().take_while(|(loss, _)| {
        left -= loss;
        left >= 0.0
    });
    affordable.map(|(_, name)| name).collect()
}

/// The least time of a convolution and, if that is F(4x4)'s and its rounding counts, what the other
/// algorithms take longer.
fn least_and_loss(problem: &Problem) -> (f64, Option<f64>) {
    let least = choose(problem, &|_| true);
    let counts = problem.element == Element::F32 && !is_exact(least.algorithm);
    (least.cost.time, counts.then(|| choose(problem, &is_exact).cost.time - least.cost.time))
}

/// Whether an algorithm rounds about as little as a sum of products.
pub(super) fn is_exact(algorithm: Algorithm) -> bool {
    algorithm.outputs() < 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::DotProducts;

    /// Of convolutions of 512 channels of a frame of these sides, which are exact.
    fn exact_of(element: Element, sides: &[usize]) -> Vec<usize> {
        let problem = |side: usize| Problem {
            batch: 1,
            result: [1, side, side],
            kernel: [1, 3, 3],
            strides: [1; 3],
            inputs: 512,
            outputs: 512,
            panel_columns: 32,
            panel_rows: 14,
            element,
            dot_products: DotProducts::Absent,
        };
        let exact = exact(sides.iter().map(|&side| problem(side)).enumerate());
        (0..sides.len()).filter(|index| exact.contains(index)).collect()
    }

    #[test]
    fn the_cheapest_are_exact_as_far_as_the_share_goes() {
        assert_eq!(exact_of(Element::F32, &[256, 64, 256, 64]), [1, 3]);
        assert_eq!(exact_of(Element::Bf16, &[256, 64, 256, 64]), [0; 0]);
        // What is all of the time is never affordable.
        assert_eq!(exact_of(Element::F32, &[256]), [0; 0]);
    }
}
