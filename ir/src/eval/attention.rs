//! Attention, query by query: scores of all keys that a query sees, their softmax, the mean of
//! values by it; or, where attention is linear, the mean of values by the scores.
//!
//! Sums are gathered in f64 whatever `T` is. Exponentials are of scores less the largest one, so
//! that none overflows.

use super::{OutOfMemory, Real, Tensor};
use crate::attribute::AttentionMask;
use crate::types::TensorType;

pub(super) fn attention<T: Real>(
    [query, key, value]: [&Tensor<T>; 3],
    heads: usize,
    scale: f64,
    mask: AttentionMask,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let [[queries, channels], [keys, outputs]] =
        [query, value].map(|tokens| *tokens.ty.shape.last_chunk::<2>().expect("attention_c1"));
    let (of_head, outputs_of_head) = (channels / heads, outputs / heads);
    let result = Tensor::zeros(ty)?;
    Ok(result.fill_rows(|position, row| {
        // The token's place among all, and among those that its keys are for.
        let place = position.iter().zip(&ty.shape).fold(0, |before, (at, size)| before * size + at);
        let (apart, token) = (place / queries, place % queries);
        let seen = mask.seen(token, queries, keys);
        let mut sums = vec![0.0; outputs_of_head];
        for (head, to) in row.chunks_exact_mut(outputs_of_head).enumerate() {
            let q = &query.data[place * channels + head * of_head..][..of_head];
            let scores: Vec<f64> = (0..seen)
                .map(|at| {
                    let k = &key.data[(apart * keys + at) * channels + head * of_head..][..of_head];
                    scale * q.iter().zip(k).map(|(q, k)| q.to_f64() * k.to_f64()).sum::<f64>()
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (mut whole, mut at) = (0.0, apart * keys * outputs + head * outputs_of_head);
            sums.fill(0.0);
            for score in scores {
                let weight = (score - largest).exp();
                whole += weight;
                let v = &value.data[at..][..outputs_of_head];
                sums.iter_mut().zip(v).for_each(|(sum, v)| *sum += weight * v.to_f64());
                at += outputs;
            }
            to.iter_mut().zip(&sums).for_each(|(to, sum)| *to = T::from_f64(sum / whole));
        }
    }))
}

/// By the definition, score by score: what makes it linear is the order of the sums.
pub(super) fn linear_attention<T: Real>(
    [query, key, value]: [&Tensor<T>; 3],
    heads: usize,
    epsilon: f64,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let [[queries, channels], [keys, outputs]] =
        [query, value].map(|tokens| *tokens.ty.shape.last_chunk::<2>().expect("linear_attention_c1"));
    let (of_head, outputs_of_head) = (channels / heads, outputs / heads);
    let result = Tensor::zeros(ty)?;
    Ok(result.fill_rows(|position, row| {
        let place = position.iter().zip(&ty.shape).fold(0, |before, (at, size)| before * size + at);
        let apart = place / queries;
        let mut sums = vec![0.0; outputs_of_head];
        for (head, to) in row.chunks_exact_mut(outputs_of_head).enumerate() {
            let q = &query.data[place * channels + head * of_head..][..of_head];
            let mut whole = epsilon;
            sums.fill(0.0);
            for at in apart * keys..(apart + 1) * keys {
                let k = &key.data[at * channels + head * of_head..][..of_head];
                let score: f64 = q.iter().zip(k).map(|(q, k)| q.to_f64() * k.to_f64()).sum();
                whole += score;
                let v = &value.data[at * outputs + head * outputs_of_head..][..outputs_of_head];
                sums.iter_mut().zip(v).for_each(|(sum, v)| *sum += score * v.to_f64());
            }
            to.iter_mut().zip(&sums).for_each(|(to, sum)| *to = T::from_f64(sum / whole));
        }
    }))
}
