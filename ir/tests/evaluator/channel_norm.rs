//! Normalisation over channels against its formulas, written as they stand in the models' sources.

use ir::{Activation, ChannelNormKind};

use super::{at, check, of_text, random, run, video};

/// What `kind` makes of channel `c` of the channels `x` of a position.
fn formula(kind: ChannelNormKind, x: &[f64], c: usize, epsilon: f64) -> f64 {
    let count = x.len() as f64;
    match kind {
        ChannelNormKind::Rms => x[c] / (x.iter().map(|x| x * x).sum::<f64>() / count + epsilon).sqrt(),
        ChannelNormKind::L2 => x[c] / x.iter().map(|x| x * x).sum::<f64>().sqrt().max(epsilon) * count.sqrt(),
        ChannelNormKind::Layer => {
            let mean = x.iter().sum::<f64>() / count;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            (x[c] - mean) / (variance + epsilon).sqrt()
        }
    }
}

#[test]
fn each_kind_is_its_formula() {
    let operands = [random("2x6x2x3x4xf32, ncthw", 1), random("6xf32", 2), random("6xf32", 3)];
    let [input, scale, offset] = &operands;
    // The last is larger than some norms and smaller than others.
    for (&kind, epsilon) in ChannelNormKind::ALL.iter().flat_map(|kind| [(kind, 1e-12), (kind, 0.1), (kind, 1.4)]) {
        let of = |place: [usize; 5]| {
            let [b, c, t, y, x] = place;
            let channels: Vec<f64> = (0..6).map(|channel| at(input, [b, channel, t, y, x])).collect();
            formula(kind, &channels, c, epsilon)
        };
        let plain = video(&input.ty, of);
        check(&operands[..1], &|b, v| b.channel_norm(v[0], None, None, kind, epsilon, Activation::None), &plain);
        let whole = video(&input.ty, |place| {
            let y = of(place) * scale.data[place[1]] + offset.data[place[1]];
            y / (1.0 + (-y).exp())
        });
        let build = |b: &mut ir::Builder, v: &[ir::Value]| {
            b.channel_norm(v[0], Some(v[1]), Some(v[2]), kind, epsilon, Activation::Silu)
        };
        check(&operands, &build, &whole);
    }
}

#[test]
fn any_layout_with_channels_will_do() {
    for (layout, shape, axis) in
        [("c", vec![6], 0), ("nc", vec![2, 6], 1), ("cw", vec![6, 4], 0), ("nhcw", vec![2, 3, 6, 2], 2)]
    {
        let sizes: String = shape.iter().map(|size| format!("{size}x")).collect();
        let input = random(&format!("{sizes}f32, {layout}"), 1);
        let step: usize = shape[axis + 1..].iter().product();
        for &kind in ChannelNormKind::ALL {
            let found = run(std::slice::from_ref(&input), &|b, v| {
                b.channel_norm(v[0], None, None, kind, 1e-3, Activation::None)
            });
            for (i, y) in found.data.iter().enumerate() {
                let first = i / (6 * step) * 6 * step + i % step;
                let channels: Vec<f64> = (0..6).map(|channel| input.data[first + channel * step]).collect();
                let expected = formula(kind, &channels, i / step % 6, 1e-3);
                assert!((y - expected).abs() < 1e-12, "{layout}, {kind:?}, {i}: {y}, expected {expected}");
            }
        }
    }
}

#[test]
fn nothing_stays_nothing_and_nan_stays_nan() {
    for (&kind, root) in ChannelNormKind::ALL.iter().zip([Some(12.5_f64), Some(12.5), None]) {
        // The last has squares that no f32 holds.
        let found = of_text(&format!(
            "%0 = constant {{value = [0.0, 0.0, NaN, 1.0, 3e30, 4e30]}} : tensor<3x2xf32, nc>\n\
             %1 = channel_norm %0 {{kind = {}, epsilon = 1e-12, activation = none}} : tensor<3x2xf32, nc>",
            kind.word()
        ));
        assert_eq!(found[..2], [0.0, 0.0]);
        assert!(found[2..4].iter().all(|y| y.is_nan()), "{found:?}");
        let expected = root.map_or([-1.0, 1.0], |root| [3.0, 4.0].map(|x| x / root.sqrt()));
        assert!(found[4..].iter().zip(expected).all(|(y, e)| (y - e).abs() < 1e-6), "{found:?}");
    }
}
