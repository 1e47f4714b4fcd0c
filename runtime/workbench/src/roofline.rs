//! The roofline picture: how fast calls of kernels run, over how much they compute for each byte.

use plotters::prelude::*;

use crate::profile::Ceilings;

/// Width and height of the picture.
const SIZE: (u32, u32) = (1100, 720);

/// A call, or several.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it is listed under; each kind has a colour.
    pub kind: String,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
    /// How long it took.
    pub seconds: f64,
}

/// The points that compute anything, under the roof, as SVG text. A point's area grows with its
/// share of the time.
///
/// # Errors
/// What the drawing library says.
pub fn draw(title: &str, ceilings: &Ceilings, points: &[Point]) -> Result<String, String> {
    let points: Vec<_> = points.iter().filter(|p| p.flops > 0.0 && p.bytes > 0.0 && p.seconds > 0.0).collect();
    let total: f64 = points.iter().map(|point| point.seconds).sum();
    let at = |point: &Point| (point.flops / point.bytes, point.flops / point.seconds / 1e9);
    let peak = ceilings.flops / 1e9;
    let ridge = ceilings.flops / ceilings.bandwidth;
    let intensities = points.iter().map(|point| at(point).0);
    let (left, right) = range(intensities.chain([ridge]));
    let (low, high) = range(points.iter().map(|point| at(point).1).chain([peak]));
    let mut kinds: Vec<&str> = vec![];
    for point in &points {
        if !kinds.contains(&point.kind.as_str()) {
            kinds.push(&point.kind);
        }
    }

    let mut svg = String::new();
    let mut drawn = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .caption(title, ("sans-serif", 18))
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
        chart.configure_mesh().x_desc("FLOP for each byte").y_desc("GFLOP/s").light_line_style(WHITE).draw()?;
        let slope = |intensity: f64| (intensity, intensity * ceilings.bandwidth / 1e9);
        let start = left.max(low * 1e9 / ceilings.bandwidth);
        chart
            .draw_series(LineSeries::new([slope(start), (ridge, peak), (right, peak)], BLACK.stroke_width(2)))?
            .label(format!("measured: {peak:.0} GFLOP/s, {:.1} GB/s", ceilings.bandwidth / 1e9))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLACK.stroke_width(2)));
        for (number, kind) in kinds.iter().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            let of_kind = points.iter().filter(|point| point.kind == *kind);
            let circle = |point: &&Point| {
                let radius = 3.0 + 22.0 * (point.seconds / total).sqrt();
                Circle::new(at(point), radius as i32, colour.mix(0.5).filled())
            };
            chart
                .draw_series(of_kind.map(circle))?
                .label(*kind)
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(("sans-serif", 14))
            .background_style(WHITE)
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(())
    };
    drawn().map_err(|error| error.to_string())?;
    Ok(svg)
}

/// From half the least to twice the largest of some positive numbers.
fn range(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = numbers.fold((f64::INFINITY, 0.0_f64), |(low, high), n| (low.min(n), high.max(n)));
    (low / 2.0, high * 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_computes_is_drawn() {
        let point = |kind: &str, flops| Point { kind: kind.into(), flops, bytes: 1e6, seconds: 1e-3 };
        let points = [point("convolution", 1e9), point("normalize", 4e6), point("gather", 0.0)];
        let svg = draw("a step", &Ceilings { flops: 4e11, bandwidth: 2e10 }, &points).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for part in ["a step", "convolution", "normalize", "400 GFLOP/s, 20.0 GB/s", "FLOP for each byte"] {
            assert!(svg.contains(part), "`{part}` is not in\n{svg}");
        }
        assert!(!svg.contains("gather"));
    }
}
