//! How far the activations of a run are from others, module by module in the order of the network,
//! and where the error jumps.
//!
//! Of each module all its calls (steps, tiles) and samples count together:
//!
//! - MAE, MSE, maximum: mean of `|found - expected|`, mean of its square, its largest value;
//! - relative error: `||found - expected|| / ||expected||` in the Euclidean norm, which does not
//!   depend on how large activations are;
//! - level: a word for the MAE, [`Level`].
//!
//! **A jump** is a module whose relative error is at least [`JUMP`] times that of every module
//! before it, and at least a tenth of the threshold. Rounding grows slowly along the network, by a
//! few percent a layer; a module that computes something else stands out at once, and those behind
//! it, which only pass its error on, do not jump again. Modules come in the order in which they
//! return, so the first jump is the innermost module that has the error.
//!
//! **A row reaches the threshold** if its mean absolute error and its relative error both do: the
//! first alone says nothing where activations are in the hundreds, as those of trained models are,
//! the second nothing where they are all but zero.

use std::collections::HashMap;

/// How many times larger than all before it an error must be to be a jump.
pub const JUMP: f64 = 10.0;

/// The share of the threshold that an error must have to be a jump.
const LEAST_JUMP: f64 = 0.1;

/// A word for a mean absolute error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Less than 1e-6.
    Perfect,
    /// Less than 1e-4.
    Excellent,
    /// Less than 1e-3.
    Good,
    /// Less than 1e-2.
    Warning,
    /// Less than 0.1.
    Attention,
    /// More, or not a number.
    Severe,
}

impl Level {
    /// Every level, best first.
    pub const ALL: [Level; 6] =
        [Level::Perfect, Level::Excellent, Level::Good, Level::Warning, Level::Attention, Level::Severe];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Perfect => "perfect",
            Level::Excellent => "excellent",
            Level::Good => "good",
            Level::Warning => "warning",
            Level::Attention => "attention",
            Level::Severe => "severe",
        }
    }

    /// Mean absolute errors of this level are less than this.
    pub const fn limit(self) -> f64 {
        match self {
            Level::Perfect => 1e-6,
            Level::Excellent => 1e-4,
            Level::Good => 1e-3,
            Level::Warning => 1e-2,
            Level::Attention => 0.1,
            Level::Severe => f64::INFINITY,
        }
    }

    /// The level of a mean absolute error.
    pub fn of(mae: f64) -> Level {
        Level::ALL.into_iter().find(|level| mae < level.limit()).unwrap_or(Level::Severe)
    }
}

/// What is known of the differences of one module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleErrors {
    /// The module's path.
    pub module: String,
    /// Steps of all tiles and samples.
    pub calls: usize,
    /// Values that were compared.
    pub elements: usize,
    /// Mean absolute error; like the others infinite if a value of either side is not a number.
    pub mae: f64,
    /// Mean squared error.
    pub mse: f64,
    /// The largest absolute error.
    pub max: f64,
    /// Relative error in the Euclidean norm; infinite where anything was expected to be all zero
    /// and is not.
    pub relative: f64,
}

impl ModuleErrors {
    /// The level of its mean absolute error.
    pub fn level(&self) -> Level {
        Level::of(self.mae)
    }
}

/// Sums over the values of one module.
#[derive(Debug, Clone, Default)]
struct Sums {
    calls: usize,
    elements: usize,
    absolute: f64,
    squared: f64,
    max: f64,
    expected_squared: f64,
}

impl Sums {
    fn add(&mut self, expected: &[f32], found: &[f32]) {
        self.calls += 1;
        self.elements += expected.len();
        for (&expected, &found) in expected.iter().zip(found) {
            let (expected, found) = (f64::from(expected), f64::from(found));
            let difference = (found - expected).abs();
            let difference = if difference.is_finite() { difference } else { f64::INFINITY };
            self.absolute += difference;
            self.squared += difference * difference;
            self.max = self.max.max(difference);
            if expected.is_finite() {
                self.expected_squared += expected * expected;
            }
        }
    }

    fn row(&self, module: &str) -> ModuleErrors {
        let mean = |sum: f64| sum / self.elements.max(1) as f64;
        let relative = if self.squared == 0.0 { 0.0 } else { (self.squared / self.expected_squared).sqrt() };
        ModuleErrors {
            module: module.to_owned(),
            calls: self.calls,
            elements: self.elements,
            mae: mean(self.absolute),
            mse: mean(self.squared),
            max: self.max,
            relative,
        }
    }
}

/// The differences of a run, as its activations come.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    modules: Vec<(String, Sums)>,
    index: HashMap<String, usize>,
    missing: Vec<String>,
}

impl Comparison {
    /// Nothing yet.
    pub fn new() -> Comparison {
        Comparison::default()
    }

    /// Compares values that are there on both sides, under this name.
    pub fn add(&mut self, module: &str, expected: &[f32], found: &[f32]) {
        let next = self.modules.len();
        let at = *self.index.entry(module.to_owned()).or_insert(next);
        if at == next {
            self.modules.push((module.to_owned(), Sums::default()));
        }
        self.modules[at].1.add(expected, found);
    }

    /// Notes that the other side lacks an activation of this module.
    pub fn add_missing(&mut self, module: &str) {
        if !self.missing.iter().any(|missing| missing == module) {
            self.missing.push(module.to_owned());
        }
    }

    /// Modules whose activations the other side lacks, at one call at least.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// One row for each module, in the order of the network.
    pub fn rows(&self) -> Vec<ModuleErrors> {
        self.modules.iter().map(|(module, sums)| sums.row(module)).collect()
    }
}

/// Whether rows are good enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict<'a> {
    /// The first row where the error jumps.
    pub first_jump: Option<&'a ModuleErrors>,
    /// The first row that reaches the threshold.
    pub first_above: Option<&'a ModuleErrors>,
}

impl<'a> Verdict<'a> {
    /// Judges rows, in the order of the network, by a threshold for errors.
    pub fn of(rows: &'a [ModuleErrors], threshold: f64) -> Verdict<'a> {
        let mut largest = 0.0_f64;
        let first_jump = rows.iter().find(|row| {
            let jumps = row.relative >= JUMP * largest && row.relative >= LEAST_JUMP * threshold;
            largest = largest.max(row.relative);
            jumps
        });
        let first_above = rows.iter().find(|row| row.mae.min(row.relative) >= threshold);
        Verdict { first_jump, first_above }
    }

    /// Whether nothing jumps and nothing reaches the threshold.
    pub fn passed(&self) -> bool {
        self.first_jump.is_none() && self.first_above.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(relative: &[f64]) -> Vec<ModuleErrors> {
        let row = |(i, &relative): (usize, &f64)| ModuleErrors {
            module: format!("m{i}"),
            calls: 1,
            elements: 1,
            mae: relative,
            mse: relative * relative,
            max: relative,
            relative,
        };
        relative.iter().enumerate().map(row).collect()
    }

    fn jump(relative: &[f64]) -> Option<String> {
        Verdict::of(&rows(relative), 1e-4).first_jump.map(|row| row.module.clone())
    }

    #[test]
    fn errors_are_those_of_the_definition() {
        let mut comparison = Comparison::new();
        comparison.add("a", &[3.0, 4.0], &[3.0, 4.5]);
        comparison.add("a", &[0.0, 0.0], &[0.0, -0.5]);
        comparison.add("b", &[0.0], &[0.0]);
        let [a, b] = comparison.rows().try_into().unwrap();
        assert_eq!((a.calls, a.elements, a.mae, a.mse, a.max), (2, 4, 0.25, 0.125, 0.5));
        assert!((a.relative - 0.5_f64.sqrt() / 5.0).abs() < 1e-15);
        assert_eq!((b.relative, b.level()), (0.0, Level::Perfect));
    }

    #[test]
    fn what_is_not_finite_is_the_worst() {
        for (expected, found) in
            [(1.0, f32::NAN), (f32::INFINITY, f32::INFINITY), (f32::NAN, f32::NAN), (1.0, f32::INFINITY)]
        {
            let mut comparison = Comparison::new();
            comparison.add("a", &[1.0, expected], &[1.0, found]);
            let rows = comparison.rows();
            assert_eq!((rows[0].mae, rows[0].relative, rows[0].level()), (f64::INFINITY, f64::INFINITY, Level::Severe));
            assert_eq!(Verdict::of(&rows, 1e3).first_jump, Some(&rows[0]));
        }
    }

    #[test]
    fn levels_have_limits() {
        let names = [0.0, 9e-7, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, f64::INFINITY, f64::NAN].map(|mae| Level::of(mae).name());
        let expected =
            ["perfect", "perfect", "excellent", "good", "warning", "attention", "severe", "severe", "severe"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_jump_is_much_more_than_all_before() {
        assert_eq!(jump(&[1e-7, 2e-7, 4e-7, 9e-7, 2e-6, 5e-6]), None, "rounding that grows");
        assert_eq!(jump(&[1e-7, 2e-7, 3e-3, 2e-3, 5e-3]).as_deref(), Some("m2"), "what passes it on does not jump");
        assert_eq!(jump(&[1e-2, 2e-2]).as_deref(), Some("m0"), "the first module has nothing before it");
        assert_eq!(jump(&[1e-9, 9e-6]), None, "too little to speak of");
        assert_eq!(jump(&[0.0, 0.0, 1e-5]).as_deref(), Some("m2"));
        assert_eq!(jump(&[]), None);
    }

    #[test]
    fn a_slow_rise_above_the_threshold_fails_without_a_jump() {
        let rows = rows(&[9e-6, 5e-5, 1e-4, 5e-4]);
        let verdict = Verdict::of(&rows, 1e-4);
        assert_eq!((verdict.first_jump, verdict.first_above.map(|row| row.module.as_str())), (None, Some("m2")));
        assert!(!verdict.passed() && Verdict::of(&rows, 1e-3).passed());
    }
}
