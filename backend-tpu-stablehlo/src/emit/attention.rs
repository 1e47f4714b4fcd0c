//! Attention: scores, their softmax, the mean of values; over all queries at once where scores are
//! small, else in a loop over blocks of queries, so that scores of one block are in memory at a
//! time. Linear attention, which has no scores.
//!
//! Products and sums are in f32 whatever the operands are; the result is rounded once.

use ir::{AttentionMask, Dims, ElementType};

use super::body::{Body, Tensor, type_text};
use super::loops::{for_each_strip, rows_of, scalar};

/// The attributes, and how many bytes of scores are made at once, or those of one query where these
/// are more.
#[derive(Clone, Copy)]
pub(super) struct Attention {
    pub heads: usize,
    pub scale: f64,
    pub mask: AttentionMask,
    pub score_bytes: usize,
}

/// Keys and values of all sets of tokens, `[sets, tokens, heads, channels]`, and how many queries
/// there are.
struct Read<'a> {
    by: Attention,
    key: &'a Tensor,
    value: &'a Tensor,
    queries: usize,
}

pub(super) fn attention(body: &mut Body, operands: &[Tensor], by: Attention) -> Tensor {
    let [query, key, value] = heads_apart(body, operands, by.heads);
    let (sets, queries, keys) = (query.dims[0], query.dims[1], key.dims[1]);
    let read = Read { by, key: &key, value: &value, queries };
    let of_query = [sets, by.heads, keys, ElementType::F32.bytes()].into_iter().fold(1, usize::saturating_mul);
    let rows = (by.score_bytes / of_query).clamp(1, queries);
    let result = if rows == queries {
        let start = scalar(body, "row", 0);
        read.rows(body, &query, &start)
    } else {
        let dims = [sets, queries, by.heads, value.dims[3]];
        let blank = body.splat("blank", 0.0, query.element, &dims);
        for_each_strip(body, blank, 1, rows, |body, start| {
            let some = rows_of(body, "queries", &query, 1, start, rows);
            read.rows(body, &some, start)
        })
    };
    let mut dims: Dims = operands[0].dims.clone();
    dims.pop();
    dims.push(by.heads * value.dims[3]);
    body.reshape("", &result, &dims)
}

/// Queries, keys and values, `[sets, tokens, heads, channels]`.
fn heads_apart(body: &mut Body, operands: &[Tensor], heads: usize) -> [Tensor; 3] {
    [0, 1, 2].map(|i| {
        let dims = &operands[i].dims;
        let [tokens, channels] = *dims.last_chunk().expect("attention_c1");
        let sets: usize = dims[..dims.len() - 2].iter().product();
        body.reshape("heads", &operands[i], &[sets, tokens, heads, channels / heads])
    })
}

/// The sums over keys first, then what queries make of them.
pub(super) fn linear_attention(body: &mut Body, operands: &[Tensor], heads: usize, epsilon: f64) -> Tensor {
    let [query, key, value] = heads_apart(body, operands, heads);
    let (&[sets, queries, _, channels], outputs) = (query.dims.as_slice(), value.dims[3]) else {
        unreachable!("four axes")
    };
    let element = query.element;
    let dims = [sets, heads, channels, outputs];
    let sums = dot(body, "sums", [&key, &value], ["[0, 2] x [0, 2]", "[1] x [1]"], &dims);
    let keys = body.to("keys", &key, ElementType::F32);
    let keys = body.sum("keys", &keys, &[1]);
    let query = body.to("queries", &query, ElementType::F32);
    let dims = [sets, heads, queries, outputs];
    let made = dot(body, "made", [&query, &sums], ["[0, 2] x [0, 1]", "[3] x [2]"], &dims);
    let whole = dot(body, "whole", [&query, &keys], ["[0, 2] x [0, 1]", "[3] x [2]"], &dims[..3]);
    let epsilon = body.splat("epsilon", epsilon, ElementType::F32, &dims[..3]);
    let whole = body.elementwise("whole", "add", &[&whole, &epsilon]);
    let whole = body.broadcast("whole", &whole, &[0, 1, 2], &dims);
    let means = body.elementwise("means", "divide", &[&made, &whole]);
    let head = format!("transpose {}, dims = [0, 2, 1, 3]", means.name);
    let means = body.op("means", &head, &[&means], ElementType::F32, &[sets, queries, heads, outputs]);
    let means = body.to("made", &means, element);
    let mut dims: Dims = operands[0].dims.clone();
    dims.pop();
    dims.push(heads * outputs);
    body.reshape("", &means, &dims)
}

impl Read<'_> {
    /// The result for some queries, the first of which is at `start`.
    fn rows(&self, body: &mut Body, queries: &Tensor, start: &Tensor) -> Tensor {
        let &[sets, rows, heads, _] = queries.dims.as_slice() else { unreachable!("four axes") };
        let (keys, outputs) = (self.key.dims[1], self.value.dims[3]);
        let dims = [sets, heads, rows, keys];
        let scores = dot(body, "scores", [queries, self.key], ["[0, 2] x [0, 2]", "[3] x [3]"], &dims);
        let scores = body.scaled("scores", &scores, self.by.scale);
        let scores = self.masked(body, scores, start);
        let nothing = body.splat("nothing", f64::NEG_INFINITY, ElementType::F32, &[]);
        let largest = body.reduce("largest", &scores, &[3], "maximum", &nothing);
        let largest = body.broadcast("largest", &largest, &[0, 1, 2], &dims);
        let less = body.elementwise("less", "subtract", &[&scores, &largest]);
        let weights = body.elementwise("weights", "exponential", &[&less]);
        let whole = body.sum("whole", &weights, &[3]);
        let values = body.to("values", self.value, ElementType::F32);
        let dims = [sets, heads, rows, outputs];
        let sums = dot(body, "sums", [&weights, &values], ["[0, 1] x [0, 2]", "[3] x [1]"], &dims);
        let whole = body.broadcast("whole", &whole, &[0, 1, 2], &dims);
        let means = body.elementwise("means", "divide", &[&sums, &whole]);
        let dims = [sets, rows, heads, outputs];
        let means = body.op(
            "means",
            &format!("transpose {}, dims = [0, 2, 1, 3]", means.name),
            &[&means],
            ElementType::F32,
            &dims,
        );
        body.to("made", &means, queries.element)
    }

    /// The scores, negative infinity where a query does not see a key.
    fn masked(&self, body: &mut Body, scores: Tensor, start: &Tensor) -> Tensor {
        let AttentionMask::Causal(tokens) = self.by.mask else { return scores };
        let &[.., rows, keys] = scores.dims.as_slice() else { unreachable!("four axes") };
        let dims = [rows, keys];
        let iota = |body: &mut Body, hint: &str, axis: usize| {
            let result = Tensor { name: body.fresh(hint), element: ElementType::I32, dims: dims.into_iter().collect() };
            body.line(&format!("{} = stablehlo.iota dim = {axis} : {}", result.name, result.ty()));
            result
        };
        // The first key that is not seen: the end of the query's frame.
        let query = iota(body, "query", 0);
        let first = body.broadcast("start", start, &[], &dims);
        let query = body.elementwise("query", "add", &[&query, &first]);
        let earlier = body.splat("earlier", (keys - self.queries + tokens) as f64, ElementType::I32, &dims);
        let end = body.elementwise("end", "add", &[&query, &earlier]);
        let tokens = body.splat("tokens", tokens as f64, ElementType::I32, &dims);
        let frame = body.elementwise("frame", "divide", &[&end, &tokens]);
        let end = body.elementwise("end", "multiply", &[&frame, &tokens]);
        let key = iota(body, "key", 1);
        let (small, large) = (type_text("i1", &dims), type_text("i1", &scores.dims));
        let seen = body.fresh("seen");
        body.line(&format!(
            "{seen} = stablehlo.compare LT, {}, {}, SIGNED : ({}, {}) -> {small}",
            key.name,
            end.name,
            key.ty(),
            end.ty()
        ));
        let everywhere = body.fresh("seen");
        body.line(&format!("{everywhere} = stablehlo.broadcast_in_dim {seen}, dims = [2, 3] : ({small}) -> {large}"));
        let nothing = body.splat("nothing", f64::NEG_INFINITY, ElementType::F32, &scores.dims);
        let masked = Tensor { name: body.fresh("masked"), ..scores.clone() };
        body.line(&format!(
            "{} = stablehlo.select {everywhere}, {}, {} : {large}, {}",
            masked.name,
            scores.name,
            nothing.name,
            masked.ty()
        ));
        masked
    }
}

/// Products of two tensors in f32: batching and contracting axes as StableHLO writes them.
fn dot(body: &mut Body, hint: &str, of: [&Tensor; 2], [batching, contracting]: [&str; 2], dims: &[usize]) -> Tensor {
    // Else f32 is multiplied in bf16 on a TPU.
    let precision = match of[1].element {
        ElementType::F32 => ", precision = [HIGHEST, HIGHEST]",
        ElementType::Bf16 | ElementType::F16 | ElementType::I8 | ElementType::I32 => "",
    };
    let head = format!(
        "dot_general {}, {}, batching_dims = {batching}, contracting_dims = {contracting}{precision}",
        of[0].name, of[1].name
    );
    body.op(hint, &head, &of, ElementType::F32, dims)
}
