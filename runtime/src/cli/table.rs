//! Aligned text for people: tables.

/// Rows with columns as wide as their widest cell, two spaces apart and in front; the columns of
/// `right` are aligned to the right.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1", "x"], ["bcd", "23", ""]].map(|row| row.map(String::from));
        assert_eq!(table(&rows, &[1]), "  a     1  x\n  bcd  23\n");
    }
}
