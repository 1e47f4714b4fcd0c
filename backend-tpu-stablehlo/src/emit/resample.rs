//! Nearest resizes and average pools.
//!
//! A resize goes axis by axis, the width first: it is the one along which elements lie in tiles of
//! vector registers on a TPU, so that it costs a copy; repeated rows and frames then cost none, and
//! the compiler fuses them into whoever reads them.

use ir::types::VideoAxes;
use ir::{ElementType, FirstFrame};

use super::body::{Body, Tensor};

/// `input` at `size`: time, height, width.
pub(super) fn resize_nearest(
    body: &mut Body,
    input: &Tensor,
    axes: VideoAxes,
    size: [usize; 3],
    first_frame: FirstFrame,
) -> Tensor {
    let [time, height, width] = axes.space;
    let planes = resize_axis(body, input, width, size[2]);
    let planes = resize_axis(body, &planes, height, size[1]);
    let frames = planes.dims[time];
    if first_frame == FirstFrame::Apart && frames > 1 && size[0] != frames {
        let first = body.slice_along("first", &planes, time, 0..1);
        let rest = body.slice_along("rest", &planes, time, 1..frames);
        let rest = resize_axis(body, &rest, time, size[0] - 1);
        body.concatenate("resized", &[&first, &rest], time)
    } else {
        resize_axis(body, &planes, time, size[0])
    }
}

/// Element `i` of `size` along `axis` is element `floor(i * operand / size)`.
fn resize_axis(body: &mut Body, input: &Tensor, axis: usize, size: usize) -> Tensor {
    let from = input.dims[axis];
    if from == size {
        return input.clone();
    }
    if size.is_multiple_of(from) {
        return repeat_elements(body, input, axis, size / from);
    }
    // Runs of elements that are repeated equally often.
    let count_of = |source: usize| (0..size).filter(|i| i * from / size == source).count();
    let mut parts: Vec<Tensor> = Vec::new();
    let mut start = 0;
    while start < from {
        let count = count_of(start);
        let end = (start + 1..from).find(|&i| count_of(i) != count).unwrap_or(from);
        if count > 0 {
            let run = body.slice_along("run", input, axis, start..end);
            parts.push(if count == 1 { run } else { repeat_elements(body, &run, axis, count) });
        }
        start = end;
    }
    body.concatenate("resized", &parts.iter().collect::<Vec<_>>(), axis)
}

/// Each element along `axis` `count` times, one behind the other.
fn repeat_elements(body: &mut Body, input: &Tensor, axis: usize, count: usize) -> Tensor {
    let (mut apart, mut joined) = (input.dims.clone(), input.dims.clone());
    apart.insert(axis + 1, count);
    joined[axis] *= count;
    let places: Vec<usize> = (0..input.dims.len()).map(|place| place + usize::from(place > axis)).collect();
    let repeated = body.broadcast("repeated", input, &places, &apart);
    body.reshape("resized", &repeated, &joined)
}

pub(super) fn average_pool(
    body: &mut Body,
    input: &Tensor,
    axes: VideoAxes,
    window: [usize; 3],
    first_frame: FirstFrame,
) -> Tensor {
    let time = axes.space[0];
    let x = body.to("f32", input, ElementType::F32);
    let pooled = match first_frame {
        FirstFrame::Joined => pool(body, &x, axes, window),
        FirstFrame::Apart => {
            let first = body.slice_along("first", &x, time, 0..1);
            let first = pool(body, &first, axes, [1, window[1], window[2]]);
            if x.dims[time] - 1 < window[0] {
                first
            } else {
                let rest = body.slice_along("rest", &x, time, 1..x.dims[time]);
                let rest = pool(body, &rest, axes, window);
                body.concatenate("means", &[&first, &rest], time)
            }
        }
    };
    body.to("", &pooled, input.element)
}

/// The mean over each whole window.
fn pool(body: &mut Body, input: &Tensor, axes: VideoAxes, window: [usize; 3]) -> Tensor {
    let mut whole = input.dims.clone();
    for (axis, window) in axes.space.into_iter().zip(window) {
        whole[axis] -= whole[axis] % window;
    }
    let x = if whole == input.dims {
        input.clone()
    } else {
        let (start, stride) = (vec![0; whole.len()], vec![1; whole.len()]);
        body.slice("whole", input, &start, &whole, &stride)
    };
    // Each pooled axis becomes two: windows, and elements of a window.
    let (mut apart, mut pooled, mut inner) = (Vec::new(), Vec::new(), Vec::new());
    for (axis, &size) in whole.iter().enumerate() {
        let window = axes.space.iter().position(|&a| a == axis).map_or(1, |place| window[place]);
        apart.push(size / window);
        pooled.push(size / window);
        if window > 1 {
            inner.push(apart.len());
            apart.push(window);
        }
    }
    if inner.is_empty() {
        return x;
    }
    let windows = body.reshape("windows", &x, &apart);
    let sum = body.sum("sum", &windows, &inner);
    body.scaled("mean", &sum, 1.0 / window.iter().product::<usize>() as f64)
}
