//! The most memory that the process may hold, in bytes or as a share of what is available; how such
//! an amount is written.

use std::str::FromStr;

use crate::memory::{ASSUMED_AVAILABLE, available_bytes, resident_bytes};

/// The most memory that the process may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MemoryBudget {
    /// What it holds already and so many percent of what is available when a call begins; see
    /// [`crate::memory::available_bytes`].
    OfAvailable {
        /// More than 0, at most 100.
        percent: f64,
    },
    /// So many bytes, whatever is available.
    Bytes(u64),
}

impl Default for MemoryBudget {
    /// 70 % of what is available.
    fn default() -> MemoryBudget {
        MemoryBudget::OfAvailable { percent: 70.0 }
    }
}

impl MemoryBudget {
    /// The most that the process may hold, in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            MemoryBudget::Bytes(bytes) => bytes,
            MemoryBudget::OfAvailable { percent } => {
                let available = available_bytes().unwrap_or(ASSUMED_AVAILABLE);
                // What the process holds is not available any more, but is its own.
                resident_bytes().unwrap_or(0).saturating_add((available as f64 * percent / 100.0) as u64)
            }
        }
    }
}

/// What amounts of memory are written in.
const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1000_u64.pow(2)),
    ("GB", 1000_u64.pow(3)),
    ("TB", 1000_u64.pow(4)),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The text is no amount of memory: what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseMemoryBudgetError(String);

impl FromStr for MemoryBudget {
    type Err = ParseMemoryBudgetError;

    /// Reads `8GiB`, `500 MB` or `70%`; the case of a unit's letters does not matter.
    fn from_str(text: &str) -> Result<MemoryBudget, ParseMemoryBudgetError> {
        let known = || {
            let names = UNITS.map(|(name, _)| name).join(", ");
            ParseMemoryBudgetError(format!("expected a number and a unit ({names}, %), such as 8GiB or 70%"))
        };
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(known)?;
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| known())?;
        if unit.trim() == "%" {
            return match number > 0.0 && number <= 100.0 {
                true => Ok(MemoryBudget::OfAvailable { percent: number }),
                false => Err(ParseMemoryBudgetError("expected more than 0 % and at most 100 %".into())),
            };
        }
        let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).ok_or_else(known)?;
        Ok(MemoryBudget::Bytes((number * unit.1 as f64) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_have_units() {
        let budget = str::parse::<MemoryBudget>;
        assert_eq!(budget("8GiB"), Ok(MemoryBudget::Bytes(8 << 30)));
        assert_eq!(budget("1.5 mb"), Ok(MemoryBudget::Bytes(1_500_000)));
        assert_eq!(budget("70%"), Ok(MemoryBudget::OfAvailable { percent: 70.0 }));
        for text in ["8", "", "GiB", "8 Gig", "-1GiB", "0%", "101%", "1.2.3GB"] {
            assert!(budget(text).unwrap_err().to_string().starts_with("expected"), "{text}");
        }
    }
}
