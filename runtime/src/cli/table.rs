//! Aligned text for people: tables, and numbers with a unit.

/// Rows with columns as wide as their widest cell, two spaces apart and in front; the columns of `right` are aligned to
/// the right.
pub(super) fn table<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if right.contains(&column) { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") }
        });
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

/// `1.50 GiB`.
pub(super) fn bytes(count: u64) -> String {
    scaled(count as f64, 1024.0, "B", &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// `1.82 T` and then `unit`.
pub(super) fn count(count: u64, unit: &str) -> String {
    scaled(count as f64, 1000.0, unit, &["k", "M", "G", "T", "P", "E"].map(|prefix| format!("{prefix}{unit}")))
}

fn scaled(number: f64, base: f64, plain: &str, larger: &[impl AsRef<str>]) -> String {
    let power = (1..=larger.len()).rev().find(|&power| number >= base.powi(power as i32));
    match power {
        None => format!("{number} {plain}"),
        Some(power) => format!("{:.2} {}", number / base.powi(power as i32), larger[power - 1].as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1", "x"], ["bcd", "23", ""]].map(|row| row.map(String::from));
        assert_eq!(table(&rows, &[1]), "  a     1  x\n  bcd  23\n");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!([bytes(512), bytes(1536), bytes(3 << 30)], ["512 B", "1.50 KiB", "3.00 GiB"]);
        assert_eq!([count(7, "FLOP"), count(1_820_000_000_000, "FLOP")], ["7 FLOP", "1.82 TFLOP"]);
    }
}
