//! Amounts as people read them: bytes and counts, with a unit that fits their size.

/// `1.50 GiB`, to the nearest hundredth.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, 1024.0, "B", &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// `1.82 T` and then `unit`, to the nearest hundredth.
pub fn count(count: u64, unit: &str) -> String {
    scaled(count as f64, 1000.0, unit, &["k", "M", "G", "T", "P", "E"].map(|prefix| format!("{prefix}{unit}")))
}

fn scaled(number: f64, base: f64, plain: &str, larger: &[impl AsRef<str>]) -> String {
    let power = (1..=larger.len()).rev().find(|&power| number >= base.powi(power as i32));
    match power {
        None => format!("{number} {plain}"),
        Some(power) => format!("{:.2} {}", number / base.powi(power as i32), larger[power - 1].as_ref()),
    }
}

/// The unit that an amount of memory and its parts are told in.
pub(crate) struct MemoryUnit {
    pub(crate) bytes: f64,
    name: &'static str,
}

impl MemoryUnit {
    /// MiB below 10 GiB, so that small models read well, too.
    pub(crate) fn of(bytes: u64) -> Self {
        match bytes {
            0..TEN_GIB => Self { bytes: (1_u64 << 20) as f64, name: "MiB" },
            _ => Self { bytes: (1_u64 << 30) as f64, name: "GiB" },
        }
    }
}

/// 10 GiB.
const TEN_GIB: u64 = 10 << 30;

/// An amount of memory with one decimal, rounded up: so much is enough.
pub(crate) fn at_least(bytes: u64) -> String {
    tenths(bytes, f64::ceil)
}

/// An amount of memory with one decimal, rounded down: so much is there.
pub(crate) fn at_most(bytes: u64) -> String {
    tenths(bytes, f64::floor)
}

fn tenths(bytes: u64, round: fn(f64) -> f64) -> String {
    let unit = MemoryUnit::of(bytes);
    format!("{:.1} {}", round(bytes as f64 / unit.bytes * 10.0) / 10.0, unit.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!([bytes(512), bytes(1536), bytes(3 << 30)], ["512 B", "1.50 KiB", "3.00 GiB"]);
        assert_eq!([count(7, "FLOP"), count(1_820_000_000_000, "FLOP")], ["7 FLOP", "1.82 TFLOP"]);
    }

    #[test]
    fn memory_is_rounded_to_the_safe_side() {
        assert_eq!([at_least((3 << 20) + 1), at_most((4 << 20) - 1)], ["3.1 MiB", "3.9 MiB"]);
        assert_eq!([at_least(12 << 30), at_most(12 << 30)], ["12.0 GiB", "12.0 GiB"]);
    }
}
