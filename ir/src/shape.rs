//! Shape inference: the type of each op's result, and the constraints on its operands.
//!
//! Constraints are numbered, `convolution_c3`, and each has a test of that name in
//! `tests/constraints.rs`. The builder, the parser and the verifier all call [`infer`], so none of
//! them can accept what another refuses.

use std::cmp::Ordering;

use smallvec::smallvec;

use crate::attribute::{AttentionMask, Border, Elements, FirstFrame, PadMode};
use crate::graph::{Graph, Value};
use crate::op::Op;
use crate::types::{Axis, Dims, ElementType, Layout, TensorType, VideoAxes};

/// A constraint that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{constraint}: {message}")]
pub struct Violation {
    /// Which: the op's name and the constraint's number.
    pub constraint: String,
    /// What was expected and what was found.
    pub message: String,
}

type Inferred = Result<TensorType, Violation>;

/// Refuses unless `$holds`.
macro_rules! require {
    ($op:literal, $number:literal, $holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(Violation {
                constraint: concat!($op, "_c", $number).to_owned(),
                message: format!($($message)+),
            });
        }
    };
}

/// The type of `op`'s result over the values of `graph`.
///
/// # Errors
/// The first constraint that does not hold.
pub fn infer(op: &Op, graph: &Graph) -> Inferred {
    infer_over(op, &|value| (value.index() < graph.len()).then(|| graph.ty(value)))
}

/// The type of `op`'s result where `ty_of` gives the types of its operands; `None` for a value that
/// is not defined.
///
/// # Errors
/// The first constraint that does not hold.
pub fn infer_over<'a>(op: &Op, ty_of: &dyn Fn(Value) -> Option<&'a TensorType>) -> Inferred {
    for operand in op.operands() {
        let ty = ty_of(operand);
        require!("op", 1, ty.is_some(), "operand {operand} is not defined before this op");
        if let Some(Err(error)) = ty.map(TensorType::check) {
            require!("op", 2, false, "operand {operand}: {error}");
        }
    }
    let ty = |value: Value| ty_of(value).expect("every operand was looked up above");
    let result = match op {
        Op::Input { ty, .. } | Op::State { ty, .. } | Op::Parameter { ty, .. } => checked(op, ty.clone())?,
        Op::Constant { value, ty } => constant(value, checked(op, ty.clone())?)?,
        Op::Add { lhs, rhs } => {
            require!("add", 1, ty(*lhs) == ty(*rhs), "operands differ: {} and {}", ty(*lhs), ty(*rhs));
            ty(*lhs).clone()
        }
        Op::Multiply { lhs, rhs } => {
            require!("multiply", 1, ty(*lhs) == ty(*rhs), "operands differ: {} and {}", ty(*lhs), ty(*rhs));
            ty(*lhs).clone()
        }
        Op::Silu { input } => {
            require!("silu", 1, ty(*input).element.is_float(), "{} is not floating-point", ty(*input));
            ty(*input).clone()
        }
        Op::Unary { input, .. } => {
            require!("unary", 1, ty(*input).element.is_float(), "{} is not floating-point", ty(*input));
            ty(*input).clone()
        }
        Op::Clamp { input, low, high } => {
            require!("clamp", 1, ty(*input).element.is_float(), "{} is not floating-point", ty(*input));
            let ordered = low.partial_cmp(high).is_some_and(Ordering::is_le);
            require!("clamp", 2, ordered, "low must be at most high, found {low} and {high}");
            ty(*input).clone()
        }
        Op::AddBias { input, bias } => {
            let channels = video("add_bias", ty(*input))?.1;
            per_channel("add_bias", "bias", ty(*bias), channels, bias_element(ty(*input).element))?;
            ty(*input).clone()
        }
        Op::Convolution { input, weight, bias, residual, cache, strides, padding, repeat_first, border } => {
            convolution(
                ty(*input),
                ty(*weight),
                bias.map(ty),
                residual.map(ty),
                cache.map(ty),
                *strides,
                *padding,
                *repeat_first,
                *border,
            )?
        }
        Op::GroupedConvolution { input, weight, bias, groups, strides, padding } => {
            grouped_convolution(ty(*input), ty(*weight), bias.map(ty), *groups, *strides, *padding)?
        }
        Op::Attention { query, key, value, heads, scale, mask } => {
            attention([ty(*query), ty(*key), ty(*value)], *heads, *scale, *mask)?
        }
        Op::LinearAttention { query, key, value, heads, epsilon } => {
            linear_attention([ty(*query), ty(*key), ty(*value)], *heads, *epsilon)?
        }
        Op::GroupNorm { input, scale, offset, groups, epsilon } => {
            group_statistics("group_norm", ty(*input), *groups, *epsilon)?;
            let channels = video("group_norm", ty(*input))?.1;
            per_channel("group_norm", "scale", ty(*scale), channels, ElementType::F32)?;
            per_channel("group_norm", "offset", ty(*offset), channels, ElementType::F32)?;
            ty(*input).clone()
        }
        Op::GroupStatistics { input, groups, epsilon } => {
            group_statistics("group_statistics", ty(*input), *groups, *epsilon)?
        }
        Op::Normalize { input, statistics, scale, offset, gain, shift, first_frame, .. } => normalize(
            ty(*input),
            ty(*statistics),
            [ty(*scale), ty(*offset)],
            gain.map(ty),
            shift.map(ty),
            *first_frame,
        )?,
        Op::ChannelNorm { input, scale, offset, epsilon, .. } => {
            channel_norm(ty(*input), [scale.map(ty), offset.map(ty)], *epsilon)?
        }
        Op::ResizeNearest { input, size, first_frame } => resize_nearest(ty(*input), *size, *first_frame)?,
        Op::AveragePool { input, window, first_frame } => average_pool(ty(*input), *window, *first_frame)?,
        Op::Pad { input, low, high, mode } => pad(ty(*input), low, high, *mode)?,
        Op::Slice { input, start, limit } => slice(ty(*input), start, limit)?,
        Op::Concatenate { inputs, axis } => concatenate(&inputs.iter().map(|&v| ty(v)).collect::<Vec<_>>(), *axis)?,
        Op::Transpose { input, permutation } => transpose(ty(*input), permutation)?,
        Op::Reshape { input, ty: to } => {
            let (from, to) = (ty(*input), checked(op, to.clone())?);
            require!("reshape", 1, from.element == to.element, "cannot make {to} of {from}: use convert for elements");
            require!("reshape", 2, from.elements() == to.elements(), "{from} and {to} have different element counts");
            to
        }
        Op::Convert { input, element } => TensorType { element: *element, ..ty(*input).clone() },
    };
    checked(op, result)
}

/// Constraint 0 of every op: its type is one that a graph may hold.
fn checked(op: &Op, ty: TensorType) -> Inferred {
    match ty.check() {
        Ok(()) => Ok(ty),
        Err(error) => Err(Violation { constraint: format!("{}_c0", op.mnemonic()), message: error.to_string() }),
    }
}

fn constant(value: &Elements, ty: TensorType) -> Inferred {
    if let Elements::Dense(values) = value {
        let count = values.len();
        require!(
            "constant",
            1,
            count == ty.elements(),
            "{count} values for {ty}, which has {} elements",
            ty.elements()
        );
    }
    Ok(ty)
}

/// The axes and channel count of a video operand.
fn video(op: &str, ty: &TensorType) -> Result<(VideoAxes, usize), Violation> {
    let axes = ty.layout.video().ok_or_else(|| Violation {
        constraint: format!("{op}_v1"),
        message: format!("expected a video (ncthw or nthwc), found {ty}"),
    })?;
    Ok((axes, ty.shape[axes.channel]))
}

/// What a bias is added in: f32 to floating-point numbers, whatever their type, since it is added
/// before rounding.
const fn bias_element(video: ElementType) -> ElementType {
    if video.is_float() { ElementType::F32 } else { video }
}

/// Checks a plain vector with one element a channel.
fn per_channel(op: &str, what: &str, ty: &TensorType, channels: usize, element: ElementType) -> Result<(), Violation> {
    let expected = TensorType::plain(element, [channels]);
    if *ty != expected {
        return Err(Violation {
            constraint: format!("{op}_v2"),
            message: format!("{what} must be {expected}, one element a channel, found {ty}"),
        });
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one argument an operand or attribute of the op")]
fn convolution(
    input: &TensorType,
    weight: &TensorType,
    bias: Option<&TensorType>,
    residual: Option<&TensorType>,
    cache: Option<&TensorType>,
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
    repeat_first: usize,
    border: Border,
) -> Inferred {
    let (axes, channels) = video("convolution", input)?;
    let Some(kernel) = weight.layout.kernel() else {
        return Err(Violation {
            constraint: "convolution_c1".to_owned(),
            message: format!("the weight must be oidhw or dhwio, found {weight}"),
        });
    };
    require!(
        "convolution",
        2,
        (input.layout == Layout::NCTHW) == (weight.layout == Layout::OIDHW),
        "input and weight must both be channel-first (ncthw, oidhw) or both channel-last (nthwc, dhwio), \
         found {input} and {weight}"
    );
    require!(
        "convolution",
        3,
        weight.shape[kernel.input] == channels,
        "the input has {channels} channels, the weight takes {}: {input} and {weight}",
        weight.shape[kernel.input]
    );
    require!("convolution", 4, input.element == weight.element, "elements differ: {input} and {weight}");
    require!("convolution", 5, strides.iter().all(|&s| s > 0), "strides must be at least 1, found {strides:?}");
    require!(
        "convolution",
        6,
        cache.is_none() || repeat_first == 0,
        "frames in front come from a cache or from the first frame, not from both"
    );
    let space = axes.space.map(|axis| input.shape[axis]);
    let mut front = repeat_first;
    if let Some(cache) = cache {
        let cached = cache.space().map_or(0, |space| space[0]);
        let expected = input.video_like(input.shape[axes.batch], channels, [cached, space[1], space[2]]);
        require!("convolution", 7, *cache == expected, "the cache must be {input} but for its frames, found {cache}");
        front = cached;
    }
    let mut size = [0; 3];
    for axis in 0..3 {
        let window = weight.shape[kernel.space[axis]];
        let [low, high] = padding[axis];
        let around = [low, high, if axis == 0 { front } else { 0 }];
        let padded = around.into_iter().try_fold(space[axis], usize::checked_add);
        require!(
            "convolution",
            10,
            padded.is_some(),
            "the padding {padding:?} or the {front} frames in front overflow"
        );
        let padded = padded.unwrap_or_default();
        let inside = padded - low - high;
        require!(
            "convolution",
            11,
            border.0[axis] != PadMode::Reflect || low < inside && high < inside,
            "{inside} elements of {} cannot be mirrored to {low} in front and {high} behind",
            ["time", "height", "width"][axis]
        );
        require!(
            "convolution",
            8,
            padded >= window,
            "the kernel is larger than the padded input along {}: {window} > {padded} ({input}, {weight})",
            ["time", "height", "width"][axis]
        );
        size[axis] = (padded - window) / strides[axis] + 1;
    }
    let outputs = weight.shape[kernel.output];
    let result = input.video_like(input.shape[axes.batch], outputs, size);
    if let Some(bias) = bias {
        per_channel("convolution", "bias", bias, outputs, bias_element(input.element))?;
    }
    if let Some(residual) = residual {
        require!("convolution", 9, *residual == result, "the residual must be {result}, found {residual}");
    }
    Ok(result)
}

/// A convolution of one group, with all outputs.
fn grouped_convolution(
    input: &TensorType,
    weight: &TensorType,
    bias: Option<&TensorType>,
    groups: usize,
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
) -> Inferred {
    let (axes, channels) = video("grouped_convolution", input)?;
    let outputs = weight.layout.kernel().map_or(groups, |kernel| weight.shape[kernel.output]);
    require!(
        "grouped_convolution",
        1,
        groups > 0 && channels.is_multiple_of(groups) && outputs.is_multiple_of(groups),
        "{channels} and {outputs} channels do not divide into {groups} groups: {input} and {weight}"
    );
    let mut group = input.clone();
    group.shape[axes.channel] = channels / groups;
    convolution(&group, weight, bias, None, None, strides, padding, 0, Border::ZERO)
}

/// The result of an attention of either kind over these operands: tokens as those of `query`, of
/// channels as those of `value`.
fn tokens(op: &str, [query, key, value]: [&TensorType; 3], heads: usize) -> Inferred {
    let violation = |number: u32, message: String| Violation { constraint: format!("{op}_c{number}"), message };
    let is_tokens = |ty: &&TensorType| ty.layout.is_plain() && ty.rank() >= 2 && ty.element.is_float();
    if ![query, key, value].iter().all(is_tokens) {
        let expected = "floating-point, [.., tokens, channels] without names of axes";
        return Err(violation(1, format!("operands must be tokens: {expected}, found {query}, {key} and {value}")));
    }
    let [queries, keys] = [query, key].map(token_count);
    let channels = |ty: &TensorType| ty.shape[ty.rank() - 1];
    // What `query` is, with other tokens and channels.
    let like = |tokens: usize, channels: usize| {
        let mut shape = query.shape.clone();
        shape.truncate(query.rank() - 2);
        shape.extend([tokens, channels]);
        TensorType { shape, ..query.clone() }
    };
    if *key != like(keys, channels(query)) {
        return Err(violation(2, format!("the key must be {query} but for its tokens, found {key}")));
    }
    if *value != like(keys, channels(value)) {
        return Err(violation(3, format!("the value must be {key} but for its channels, found {value}")));
    }
    let [of_query, of_value] = [query, value].map(channels);
    let divides = |channels: usize| heads > 0 && channels.is_multiple_of(heads);
    if !(divides(of_query) && divides(of_value)) {
        return Err(violation(4, format!("{of_query} and {of_value} channels do not divide into {heads} heads")));
    }
    Ok(like(queries, of_value))
}

/// Tokens of an operand of an attention.
fn token_count(ty: &TensorType) -> usize {
    ty.shape[ty.rank() - 2]
}

fn attention(operands: [&TensorType; 3], heads: usize, scale: f64, mask: AttentionMask) -> Inferred {
    let result = tokens("attention", operands, heads)?;
    require!("attention", 5, scale.is_finite(), "the scale must be a finite number, found {scale}");
    if let AttentionMask::Causal(frame) = mask {
        let [queries, keys, _] = operands.map(token_count);
        require!("attention", 6, queries <= keys, "with a causal mask {queries} queries cannot see {keys} keys alone");
        require!(
            "attention",
            7,
            frame > 0 && queries.is_multiple_of(frame) && keys.is_multiple_of(frame),
            "{queries} queries and {keys} keys do not divide into frames of {frame} tokens"
        );
    }
    Ok(result)
}

fn linear_attention(operands: [&TensorType; 3], heads: usize, epsilon: f64) -> Inferred {
    let result = tokens("linear_attention", operands, heads)?;
    require!(
        "linear_attention",
        5,
        epsilon.is_finite() && epsilon >= 0.0,
        "epsilon must be a finite number, 0 or more, found {epsilon}"
    );
    Ok(result)
}

fn group_statistics(op: &str, input: &TensorType, groups: usize, epsilon: f64) -> Inferred {
    let (axes, channels) = video(op, input)?;
    let violation = |number: u32, message: String| Violation { constraint: format!("{op}_c{number}"), message };
    if !input.element.is_float() {
        return Err(violation(1, format!("{input} is not floating-point")));
    }
    if groups == 0 || channels % groups != 0 {
        return Err(violation(2, format!("{channels} channels do not divide into {groups} groups")));
    }
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(violation(3, format!("epsilon must be a finite number of at least 0, found {epsilon}")));
    }
    Ok(TensorType::plain(ElementType::F32, [input.shape[axes.batch], groups, 2]))
}

fn normalize(
    input: &TensorType,
    statistics: &TensorType,
    affine: [&TensorType; 2],
    gain: Option<&TensorType>,
    shift: Option<&TensorType>,
    first_frame: FirstFrame,
) -> Inferred {
    let (axes, channels) = video("normalize", input)?;
    require!("normalize", 5, input.element.is_float(), "{input} is not floating-point");
    let groups = if statistics.rank() == 3 { statistics.shape[1] } else { 0 };
    let expected = TensorType::plain(ElementType::F32, [input.shape[axes.batch], groups, 2]);
    require!(
        "normalize",
        1,
        groups > 0 && *statistics == expected && channels % groups == 0,
        "statistics must be [{}, groups, 2] in f32 with groups that divide {channels}, found {statistics}",
        input.shape[axes.batch]
    );
    for (what, ty) in ["scale", "offset"].into_iter().zip(affine) {
        per_channel("normalize", what, ty, channels, ElementType::F32)?;
    }
    require!("normalize", 2, gain.is_some() == shift.is_some(), "gain and shift come together");
    if let (Some(gain), Some(shift)) = (gain, shift) {
        require!("normalize", 3, gain == shift, "gain and shift differ: {gain} and {shift}");
        let space = gain.space().unwrap_or_default();
        let expected = input.video_like(input.shape[axes.batch], channels, space);
        require!("normalize", 4, *gain == expected, "gain must be {input} but for its size, found {gain}");
        resize_nearest(gain, axes.space.map(|axis| input.shape[axis]), first_frame)?;
    }
    Ok(input.clone())
}

/// `affine` is scale and offset.
fn channel_norm(input: &TensorType, affine: [Option<&TensorType>; 2], epsilon: f64) -> Inferred {
    require!("channel_norm", 1, input.element.is_float(), "{input} is not floating-point");
    let place = input.layout.place(Axis::Channel);
    require!("channel_norm", 2, place.is_some(), "the layout must name the channels (c), found {input}");
    require!(
        "channel_norm",
        3,
        epsilon >= 0.0 && epsilon.is_finite(),
        "epsilon must be a finite number of at least 0, found {epsilon}"
    );
    let channels = place.map_or(1, |axis| input.shape[axis]);
    for (what, ty) in ["scale", "offset"].into_iter().zip(affine) {
        ty.map_or(Ok(()), |ty| per_channel("channel_norm", what, ty, channels, ElementType::F32))?;
    }
    Ok(input.clone())
}

fn resize_nearest(input: &TensorType, size: [usize; 3], first_frame: FirstFrame) -> Inferred {
    let (axes, channels) = video("resize_nearest", input)?;
    require!("resize_nearest", 1, size.iter().all(|&s| s > 0), "sizes must be at least 1, found {size:?}");
    let frames = input.shape[axes.space[0]];
    require!(
        "resize_nearest",
        2,
        first_frame == FirstFrame::Joined || (frames == 1) == (size[0] == 1),
        "with the first frame apart, the other {} frames cannot become {}",
        frames - 1,
        size[0] - 1
    );
    Ok(input.video_like(input.shape[axes.batch], channels, size))
}

fn average_pool(input: &TensorType, window: [usize; 3], first_frame: FirstFrame) -> Inferred {
    let (axes, channels) = video("average_pool", input)?;
    require!("average_pool", 1, input.element.is_float(), "{input} is not floating-point");
    require!("average_pool", 2, window.iter().all(|&w| w > 0), "windows must be at least 1, found {window:?}");
    let mut size = axes.space.map(|axis| input.shape[axis]);
    let apart = usize::from(first_frame == FirstFrame::Apart);
    size[0] = apart + (size[0] - apart) / window[0];
    size[1] /= window[1];
    size[2] /= window[2];
    require!("average_pool", 3, size.iter().all(|&s| s > 0), "the window {window:?} is larger than {input}");
    Ok(input.video_like(input.shape[axes.batch], channels, size))
}

fn pad(input: &TensorType, low: &Dims, high: &Dims, mode: PadMode) -> Inferred {
    require!(
        "pad",
        1,
        low.len() == input.rank() && high.len() == input.rank(),
        "low and high need one number an axis of {input}, found {low:?} and {high:?}"
    );
    let mut result = input.clone();
    for (axis, size) in result.shape.iter_mut().enumerate() {
        let padded = size.checked_add(low[axis]).and_then(|n| n.checked_add(high[axis]));
        require!("pad", 2, padded.is_some(), "axis {axis} of {input} overflows");
        require!(
            "pad",
            3,
            mode != PadMode::Reflect || low[axis] < *size && high[axis] < *size,
            "{size} elements of axis {axis} cannot be mirrored to {} in front and {} behind",
            low[axis],
            high[axis]
        );
        *size = padded.unwrap_or(*size);
    }
    Ok(result)
}

fn slice(input: &TensorType, start: &Dims, limit: &Dims) -> Inferred {
    require!(
        "slice",
        1,
        start.len() == input.rank() && limit.len() == input.rank(),
        "start and limit need one number an axis of {input}, found {start:?} and {limit:?}"
    );
    let mut result = input.clone();
    for axis in 0..input.rank() {
        require!(
            "slice",
            2,
            start[axis] < limit[axis] && limit[axis] <= input.shape[axis],
            "{}..{} is not a range within axis {axis} of {input}",
            start[axis],
            limit[axis]
        );
        result.shape[axis] = limit[axis] - start[axis];
    }
    Ok(result)
}

fn concatenate(inputs: &[&TensorType], axis: usize) -> Inferred {
    require!("concatenate", 1, !inputs.is_empty(), "at least one operand is needed");
    let mut result = inputs[0].clone();
    require!("concatenate", 2, axis < result.rank(), "axis {axis} is not one of {result}");
    for other in &inputs[1..] {
        let mut expected = result.clone();
        expected.shape[axis] = if axis < other.rank() { other.shape[axis] } else { 0 };
        require!(
            "concatenate",
            3,
            **other == expected,
            "operands may differ along axis {axis} alone, found {} and {other}",
            inputs[0]
        );
        let size = result.shape[axis].checked_add(other.shape[axis]);
        require!("concatenate", 4, size.is_some(), "axis {axis} overflows");
        result.shape[axis] = size.unwrap_or_default();
    }
    Ok(result)
}

fn transpose(input: &TensorType, permutation: &Dims) -> Inferred {
    let mut sorted = permutation.clone();
    sorted.sort_unstable();
    require!(
        "transpose",
        1,
        sorted.iter().copied().eq(0..input.rank()),
        "{permutation:?} is not a permutation of the axes of {input}"
    );
    let mut shape: Dims = smallvec![];
    shape.extend(permutation.iter().map(|&axis| input.shape[axis]));
    Ok(TensorType { element: input.element, shape, layout: input.layout.permuted(permutation) })
}
