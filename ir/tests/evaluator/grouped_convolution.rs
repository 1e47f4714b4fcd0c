//! Convolutions within groups of channels against their formula.

use super::{at, check, random, video};

#[test]
fn each_group_sees_its_own_channels() {
    // Channels, outputs and groups: depthwise, with two outputs a channel, in between, and one
    // group.
    for (channels, outputs, groups) in [(4, 4, 4), (3, 6, 3), (6, 4, 2), (3, 2, 1)] {
        let (of_group, outputs_of_group) = (channels / groups, outputs / groups);
        let operands = [
            random(&format!("2x{channels}x3x4x5xf32, ncthw"), 1),
            random(&format!("{outputs}x{of_group}x2x3x3xf32, oidhw"), 2),
            random(&format!("{outputs}xf32"), 3),
        ];
        let [x, weight, bias] = &operands;
        let (strides, padding) = ([1, 2, 1], [[0, 1], [1, 1], [0, 2]]);
        let ty = format!("tensor<2x{outputs}x3x2x5xf32, ncthw>").parse().unwrap();
        let expected = video(&ty, |[b, o, t, y, column]| {
            let mut sum = bias.data[o];
            for (i, w) in weight.data.iter().enumerate().filter(|(i, _)| i / (of_group * 18) == o) {
                let (c, kt, ky, kx) = (i / 18 % of_group, i / 9 % 2, i / 3 % 3, i % 3);
                let channel = o / outputs_of_group * of_group + c;
                // Behind the last frame and in front of the first row are zeros; `at` has those
                // behind rows and columns.
                if t + kt < 3 && 2 * y + ky > 0 {
                    sum += w * at(x, [b, channel, t + kt, 2 * y + ky - 1, column + kx]);
                }
            }
            sum
        });
        check(&operands, &|b, v| b.grouped_convolution(v[0], v[1], Some(v[2]), groups, strides, padding), &expected);
    }
}
