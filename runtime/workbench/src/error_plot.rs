//! The picture of errors along the depth of the network.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::comparison::{Level, ModuleErrors};

/// Width and height of the picture.
const SIZE: (u32, u32) = (1200, 700);
/// Errors below this are drawn at it: the scale is logarithmic.
const LEAST: f64 = 1e-9;
/// Errors above this are drawn at it.
const MOST: f64 = 1e3;
/// Parts of the network that there are several of.
const NUMBERED: [&str; 2] = ["up_blocks", "down_blocks"];

/// One of a row's errors.
type Pick = fn(&ModuleErrors) -> f64;

/// The part of the network that a module belongs to, without the half's name: `up_blocks.0`,
/// `mid_block`, `conv_in`.
fn part(module: &str) -> String {
    let mut components = module.split('.');
    let first = components.next().unwrap_or_default();
    match components.next() {
        None => first.into(),
        Some(name) => match components.next() {
            Some(number) if NUMBERED.contains(&name) => format!("{name}.{number}"),
            _ => name.into(),
        },
    }
}

/// The rows from left to right, without errors that are 0, and the first jump marked, as SVG text.
///
/// # Errors
/// What the drawing library says.
pub fn draw(title: &str, rows: &[ModuleErrors], first_jump: Option<&ModuleErrors>) -> Result<String, String> {
    let shown = |error: f64| if error.is_finite() { error.clamp(LEAST, MOST) } else { MOST };
    let errors =
        || rows.iter().flat_map(|row| [row.mae, row.relative, row.max]).filter(|error| *error > 0.0).map(shown);
    let low = errors().fold(1e-7, f64::min) / 2.0;
    let high = errors().fold(2e-4, f64::max) * 4.0;
    let right = rows.len().max(2) as f64 - 0.5;
    let points = |pick: Pick| {
        let errors = rows.iter().enumerate().map(move |(i, row)| (i as f64, pick(row)));
        errors.filter(|(_, error)| *error > 0.0).map(|(i, error)| (i, shown(error))).collect::<Vec<_>>()
    };

    let mut svg = String::new();
    let mut drawn = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .caption(title, ("sans-serif", 18))
            .x_label_area_size(110)
            .y_label_area_size(70)
            .build_cartesian_2d(-0.5..right, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_desc("error")
            .y_label_formatter(&|error| format!("{error:.0e}"))
            .light_line_style(WHITE)
            .draw()?;
        let small = ("sans-serif", 12).into_font().color(&BLACK.mix(0.55));
        for level in Level::ALL {
            let limit = level.limit();
            if (low..high).contains(&limit) {
                chart.draw_series(LineSeries::new([(-0.5, limit), (right, limit)], BLACK.mix(0.25)))?;
                let below = small.clone().pos(Pos::new(HPos::Right, VPos::Top));
                chart.draw_series([Text::new(format!("{} below", level.name()), (right, limit), below)])?;
            }
        }
        // Where the parts of the network begin.
        let mut before = String::new();
        for (i, row) in rows.iter().enumerate() {
            let part = part(&row.module);
            if part != before {
                let x = i as f64 - 0.5;
                chart.draw_series(LineSeries::new([(x, low), (x, high)], BLACK.mix(0.12)))?;
                let (at_x, at_y) = chart.backend_coord(&(i as f64, low));
                let turned = ("sans-serif", 13)
                    .into_font()
                    .transform(FontTransform::Rotate90)
                    .color(&BLACK)
                    .pos(Pos::new(HPos::Left, VPos::Bottom));
                root.draw(&Text::new(part.clone(), (at_x, at_y + 8), turned))?;
                before = part;
            }
        }
        let series: [(&str, Pick, RGBColor); 3] = [
            ("maximum", |row| row.max, RGBColor(170, 170, 170)),
            ("mean absolute error", |row| row.mae, RGBColor(31, 119, 180)),
            ("relative error", |row| row.relative, RGBColor(44, 140, 60)),
        ];
        for (name, pick, colour) in series {
            chart
                .draw_series(LineSeries::new(points(pick), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            chart.draw_series(points(pick).into_iter().map(|at| Circle::new(at, 2, colour.filled())))?;
        }
        if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| Some(*row) == first_jump) {
            let at = (i as f64, shown(row.relative));
            let (side, space) = if at.0 > right / 2.0 { (HPos::Right, -10) } else { (HPos::Left, 10) };
            let style = ("sans-serif", 15).into_font().color(&RED).pos(Pos::new(side, VPos::Bottom));
            chart.draw_series([Circle::new(at, 7, RED.stroke_width(2))])?;
            // At the bottom, where errors are not.
            let (x, y) = chart.backend_coord(&(at.0, low));
            root.draw(&Text::new(format!("first jump: {}", row.module), (x + space, y - 8), style))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(module: &str, error: f64) -> ModuleErrors {
        let module = module.into();
        ModuleErrors { module, calls: 1, elements: 1, mae: error, mse: error * error, max: error, relative: error }
    }

    #[test]
    fn parts_jump_and_levels_are_drawn() {
        let rows = [
            row("decoder.conv_in", 0.0),
            row("decoder.mid_block.resnets.0", 1e-7),
            row("decoder.up_blocks.1.resnets.0", 0.02),
            row("output", f64::INFINITY),
        ];
        let svg = draw("a model", &rows, Some(&rows[2])).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        let parts = ["a model", "conv_in", "mid_block", "up_blocks.1", "first jump: decoder.up_blocks.1.resnets.0"];
        for part in parts.into_iter().chain(["excellent below", "relative error", "output"]) {
            assert!(svg.contains(part), "`{part}` is not in\n{svg}");
        }
        assert!(draw("nothing", &[], None).unwrap().starts_with("<svg"));
    }
}
