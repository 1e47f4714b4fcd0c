//! Shuffles, means and repeats of channels against index formulas, in both layouts.

use ir::eval::{Tensor, Tensors, evaluate};
use ir::rearrange::{
    BlockOrder, CHANNELS_FASTEST, CHANNELS_SLOWEST, channel_means, depth_to_space, repeat_channels, space_to_depth,
    with_outputs_in,
};
use ir::{Axis, BuildError, Builder, Layout, Role, TensorType, Value};

/// LTX's and Wan 2.2's pixel patches.
const WIDTH_BEFORE_HEIGHT: BlockOrder = [Axis::Channel, Axis::Time, Axis::Width, Axis::Height];

type Build<'a> = &'a dyn Fn(&mut Builder, Value) -> Result<Value, BuildError>;

/// What `build` makes of a channel-first tensor whose elements count up.
fn run(shape: &str, build: Build<'_>) -> Tensor<f64> {
    let ty: TensorType = format!("tensor<{shape}>").parse().unwrap();
    let data = (0..ty.elements()).map(|i| i as f64).collect();
    let mut b = Builder::new("rearranged");
    let x = b.input("x".to_owned(), ty.clone()).unwrap();
    let y = build(&mut b, x).unwrap();
    b.output(Role::Result, "y", y);
    let mut tensors = Tensors::default();
    tensors.inputs.insert("x".to_owned(), Tensor::new(ty, data).unwrap());
    evaluate(&b.finish(), &tensors).unwrap().remove(0).1
}

/// Checks `build` over a channel-first video and over the same channel-last: element `[b, c, t, y,
/// x]` of the result is what `source` says of the video's elements.
fn check(shape: [usize; 5], result: [usize; 5], build: Build<'_>, source: &dyn Fn([usize; 5]) -> f64) {
    let [b, c, t, h, w] = shape;
    let text = format!("{b}x{c}x{t}x{h}x{w}xf32, ncthw");
    let last = |b: &mut Builder, x: Value| {
        let x = b.transpose(x, [0, 2, 3, 4, 1].into_iter().collect())?;
        let y = build(b, x)?;
        assert_eq!(b.ty(y).layout, Layout::NTHWC);
        b.transpose(y, [0, 4, 1, 2, 3].into_iter().collect())
    };
    for found in [run(&text, build), run(&text, &last)] {
        assert_eq!((found.ty.layout, found.ty.shape.as_slice()), (Layout::NCTHW, &result[..]));
        for (i, y) in found.data.iter().enumerate() {
            let mut rest = i;
            let mut place = [0; 5];
            for axis in (0..5).rev() {
                (place[axis], rest) = (rest % result[axis], rest / result[axis]);
            }
            assert_eq!(*y, source(place), "{place:?}");
        }
    }
}

/// The element of a channel-first video of this shape whose elements count up.
fn at([_, c, t, h, w]: [usize; 5], [b, channel, frame, y, x]: [usize; 5]) -> f64 {
    ((((b * c + channel) * t + frame) * h + y) * w + x) as f64
}

/// Which channel of a block holds channel `c` of the place `[t, y, x]` within it.
fn in_block(order: BlockOrder, channels: usize, [rt, rh, rw]: [usize; 3], c: usize, [t, y, x]: [usize; 3]) -> usize {
    order.iter().fold(0, |sum, axis| match axis {
        Axis::Time => sum * rt + t,
        Axis::Height => sum * rh + y,
        Axis::Width => sum * rw + x,
        _ => sum * channels + c,
    })
}

#[test]
fn shuffles_in_every_order() {
    for order in [CHANNELS_SLOWEST, CHANNELS_FASTEST, WIDTH_BEFORE_HEIGHT] {
        for factors in [[2, 3, 2], [1, 2, 2], [2, 1, 1]] {
            let [rt, rh, rw] = factors;
            let block = rt * rh * rw;
            let (deep, wide) = ([2, 3 * block, 2, 3, 4], [2, 3, 2 * rt, 3 * rh, 4 * rw]);
            check(deep, wide, &|b, x| depth_to_space(b, x, factors, order), &|[b, c, t, y, x]| {
                let channel = in_block(order, 3, factors, c, [t % rt, y % rh, x % rw]);
                at(deep, [b, channel, t / rt, y / rh, x / rw])
            });
            let back = |b: &mut Builder, x| {
                let deep = space_to_depth(b, x, factors, order)?;
                depth_to_space(b, deep, factors, order)
            };
            check(wide, wide, &back, &|place| at(wide, place));
        }
    }
}

#[test]
fn outputs_in_another_order_make_the_same_shuffle() {
    // 1x1x1 weights that pick each input once, and a bias.
    for from in [CHANNELS_SLOWEST, WIDTH_BEFORE_HEIGHT] {
        let factors = [2, 3, 2];
        for shape in ["36xf32", "36x1x1x1x1xf32, oidhw"] {
            let found = run(shape, &|b, v| with_outputs_in(b, v, factors, [from, CHANNELS_FASTEST]));
            for (i, y) in found.data.iter().enumerate() {
                let (place, c) = (i / 3, i % 3);
                let place = [place / 6, place / 2 % 3, place % 2];
                assert_eq!(*y, in_block(from, 3, factors, c, place) as f64);
            }
        }
    }
}

#[test]
fn means_and_repeats_are_of_neighbours() {
    let shape = [2, 6, 2, 3, 1];
    check(shape, [2, 2, 2, 3, 1], &|b, x| channel_means(b, x, 3), &|[b, c, t, y, x]| {
        (0..3).map(|i| at(shape, [b, 3 * c + i, t, y, x])).sum::<f64>() / 3.0
    });
    check(shape, [2, 24, 2, 3, 1], &|b, x| repeat_channels(b, x, 4), &|[b, c, t, y, x]| at(shape, [b, c / 4, t, y, x]));
}

#[test]
fn what_does_not_divide_is_refused() {
    let mut b = Builder::new("refused");
    let video =
        |b: &mut Builder, shape: &str| b.input(shape.to_owned(), format!("tensor<{shape}>").parse().unwrap()).unwrap();
    let x = video(&mut b, "1x6x3x4x1xf32, ncthw");
    let plain = video(&mut b, "1x6x4xf32, nct");
    let errors = [
        channel_means(&mut b, x, 4).unwrap_err(),
        depth_to_space(&mut b, x, [2, 2, 1], CHANNELS_SLOWEST).unwrap_err(),
        space_to_depth(&mut b, x, [2, 1, 1], CHANNELS_SLOWEST).unwrap_err(),
        repeat_channels(&mut b, plain, 2).unwrap_err(),
    ];
    let constraints = errors.map(|error| error.violation.constraint);
    assert_eq!(constraints, ["reshape_c2", "reshape_c2", "reshape_c2", "resize_nearest_v1"]);
}
