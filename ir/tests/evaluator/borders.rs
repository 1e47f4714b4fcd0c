//! What stands around tensors and in the padding of convolutions: zeros, the edge, a reflection.

use ir::{Border, Dims, PadMode};

use super::{Tensor, check, of_text, random, video};

/// Which of `size` elements stands at `index`, counted from the first; `None` for a zero. By
/// walking there.
fn walk(mode: PadMode, index: isize, size: usize) -> Option<usize> {
    if mode == PadMode::Zero {
        return usize::try_from(index).ok().filter(|&at| at < size);
    }
    let (mut at, mut step) = (0, 1);
    for _ in 0..index.unsigned_abs() {
        let next = at + step;
        if (0..size as isize).contains(&next) {
            at = next;
        } else if mode == PadMode::Reflect {
            step = -step;
            at += step;
        }
        // To the left of the first element there is nothing but the border.
        if index < 0 && mode == PadMode::Edge {
            at = 0;
        }
    }
    Some(at as usize)
}

#[test]
fn reflections_by_hand() {
    let x = "%0 = constant {value = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]} : tensor<2x3xf32>\n";
    let pad = of_text(&format!("{x}%1 = pad %0 {{low = [1, 0], high = [0, 2], mode = reflect}} : tensor<3x5xf32>"));
    assert_eq!(pad, [4.0, 5.0, 6.0, 5.0, 4.0, 1.0, 2.0, 3.0, 2.0, 1.0, 4.0, 5.0, 6.0, 5.0, 4.0]);
    let nothing = of_text(
        "%0 = constant {value = 2.0} : tensor<1xf32>\n\
         %1 = pad %0 {low = [0], high = [0], mode = reflect} : tensor<1xf32>",
    );
    assert_eq!(nothing, [2.0]);
}

#[test]
fn pads_of_videos() {
    let operands = [random("2x3x3x4x5xf32, ncthw", 1)];
    let (low, high): (Dims, Dims) = ([0, 0, 2, 1, 3].into_iter().collect(), [0, 0, 1, 3, 0].into_iter().collect());
    let ty = "tensor<2x3x6x8x8xf32, ncthw>".parse().unwrap();
    for &mode in PadMode::ALL {
        let expected = video(&ty, |place| value(&operands[0], [mode; 3], place, [2, 1, 3]));
        // Channels last, the numbers of the axes have another order.
        let build = |b: &mut ir::Builder, v: &[ir::Value]| {
            let last = b.ty(v[0]).layout == ir::Layout::NTHWC;
            let order = |dims: &Dims| {
                if last { [0, 2, 3, 4, 1].map(|axis| dims[axis]).into_iter().collect() } else { dims.clone() }
            };
            b.pad(v[0], order(&low), order(&high), mode)
        };
        check(&operands, &build, &expected);
    }
}

/// What stands at a place of a channel-first video with so many elements in front of time, height
/// and width.
fn value(x: &Tensor<f64>, modes: [PadMode; 3], [b, c, t, y, column]: [usize; 5], low: [usize; 3]) -> f64 {
    let size = x.ty.space().unwrap();
    let inside = |axis: usize, at: usize| walk(modes[axis], at as isize - low[axis] as isize, size[axis]);
    match (inside(0, t), inside(1, y), inside(2, column)) {
        (Some(t), Some(y), Some(column)) => super::at(x, [b, c, t, y, column]),
        _ => 0.0,
    }
}

#[test]
fn convolutions_with_a_border() {
    const MODES: &[PadMode] = PadMode::ALL;
    let operands =
        [random("2x3x3x4x5xf32, ncthw", 1), random("2x3x2x3x3xf32, oidhw", 2), random("2x3x2x4x5xf32, ncthw", 3)];
    let [x, weight, cache] = &operands;
    let padding = [[1, 1], [1, 2], [2, 0]];
    for (i, &last) in MODES.iter().enumerate() {
        let modes = [MODES[(i + 1) % 3], MODES[(i + 2) % 3], last];
        for (frames, repeat) in [(0, 0), (0, 2), (2, 0)] {
            // The frames in front are within the border.
            let whole =
                video(&format!("tensor<2x3x{}x4x5xf32, ncthw>", 3 + frames + repeat).parse().unwrap(), |place| {
                    let [b, c, t, y, column] = place;
                    match t.checked_sub(frames + repeat) {
                        Some(t) => super::at(x, [b, c, t, y, column]),
                        None if frames > 0 => super::at(cache, place),
                        None => super::at(x, [b, c, 0, y, column]),
                    }
                });
            let ty = format!("tensor<2x2x{}x5x5xf32, ncthw>", 4 + frames + repeat).parse().unwrap();
            let expected = video(&ty, |[b, o, t, y, column]| {
                let mut sum = 0.0;
                for (i, w) in weight.data.iter().enumerate().filter(|(i, _)| i / 54 == o) {
                    let (c, kt, ky, kx) = (i / 18 % 3, i / 9 % 2, i / 3 % 3, i % 3);
                    sum += w * value(&whole, modes, [b, c, t + kt, y + ky, column + kx], padding.map(|[low, _]| low));
                }
                sum
            });
            let build = |b: &mut ir::Builder, v: &[ir::Value]| {
                let cache = (frames > 0).then_some(v[v.len() - 1]);
                b.bordered_convolution(v[0], v[1], None, None, cache, [1; 3], padding, repeat, Border(modes))
            };
            check(if frames > 0 { &operands } else { &operands[..2] }, &build, &expected);
        }
    }
}
