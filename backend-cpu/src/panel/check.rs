//! What the property tests of every panel family share: a random case, the plain loop in f64, and
//! guards around C.

use needs::Need;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{PanelFamily, PanelShape, Segment};
use crate::element::Element;
use crate::pack::pair;

/// What no kernel may overwrite, around C and between its rows.
const GUARD: f32 = -12_345.0;
/// Guard elements before and after C.
const MARGIN: usize = 40;

/// One call of a panel, without its data (a seed makes them).
#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    a_stride: usize,
    /// Elements between the end of a row's columns and the next row.
    c_gap: usize,
    segments: Vec<Segment>,
    accumulate: bool,
    bias: bool,
    residual: Residual,
    seed: u64,
}

/// Where the residual comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Residual {
    None,
    Separate,
    /// C itself.
    InPlace,
}

/// Checks many random cases; on a CPU without the instruction set, says so and checks none.
pub(super) fn random_cases(family: &PanelFamily) {
    if skips(family) {
        return;
    }
    let mut runner = TestRunner::deterministic();
    runner.run(&any_case(family), |case| verify(family, &case).map_err(TestCaseError::fail)).unwrap();
}

/// Checks every number of rows with every number of columns.
pub(super) fn every_micro_tile(family: &PanelFamily) {
    if skips(family) {
        return;
    }
    for rows in 1..=family.max_rows() {
        for columns in 1..=family.nr {
            let case = Case {
                rows,
                columns,
                a_stride: 11,
                c_gap: rows % 3,
                segments: vec![Segment { offset: 0, length: 5 }, Segment { offset: 17, length: 6 }],
                accumulate: columns % 2 == 0,
                bias: true,
                residual: Residual::Separate,
                seed: (rows * 100 + columns) as u64,
            };
            verify(family, &case).unwrap();
        }
    }
}

/// Whether the CPU lacks what a family needs; then says that its test is skipped.
fn skips(family: &PanelFamily) -> bool {
    let skips = !family.is_supported();
    if skips {
        let extension = family.element == Element::Bf16;
        let need = if extension { "avx512_bf16" } else { family.isa.name() };
        needs::skip(family.name, Need::Instructions(need), "only a CPU that has these instructions can run it");
    }
    skips
}

fn any_case(family: &PanelFamily) -> impl Strategy<Value = Case> + use<> {
    let segment = (0_usize..70, 1_usize..40).prop_map(|(offset, length)| Segment { offset, length });
    let residual = prop_oneof![Just(Residual::None), Just(Residual::Separate), Just(Residual::InPlace)];
    (
        (1..=family.max_rows(), 1..=family.nr, 0_usize..90, 0_usize..20, proptest::collection::vec(segment, 0..6)),
        (any::<bool>(), any::<bool>(), residual, any::<u64>()),
    )
        .prop_map(|((rows, columns, a_stride, c_gap, segments), (accumulate, bias, residual, seed))| Case {
            rows,
            columns,
            a_stride,
            c_gap,
            segments,
            accumulate,
            bias,
            residual,
            seed,
        })
}

/// Runs the kernel and the plain loop, and compares every element of C and every guard.
fn verify(family: &PanelFamily, case: &Case) -> Result<(), String> {
    let mut random = Random(case.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let reach = case.segments.iter().map(|segment| segment.offset + segment.length).max().unwrap_or(0);
    let depth: usize = case.segments.iter().map(|segment| segment.length).sum();
    let c_stride = case.columns + case.c_gap;
    let span = (case.rows - 1) * c_stride + case.columns;

    // Exactly as long as what may be read, so that a tool that checks memory sees every stray
    // access.
    let a = random.words(family.element, (case.rows - 1) * case.a_stride + reach);
    let b = random.words(family.element, depth * family.nr);
    let bias = random.values(case.columns);
    let residual = random.values(span);
    let mut c = vec![GUARD; MARGIN + span + MARGIN];
    for row in 0..case.rows {
        c[MARGIN + row * c_stride..][..case.columns].copy_from_slice(&random.values(case.columns));
    }
    let before = c.clone();

    let shape = PanelShape {
        a_stride: case.a_stride,
        c_stride,
        segments: case.segments.as_ptr(),
        segment_count: case.segments.len(),
        columns: case.columns,
        accumulate: case.accumulate.into(),
    };
    let c_start = c[MARGIN..].as_mut_ptr();
    let bias_start = if case.bias { bias.as_ptr() } else { std::ptr::null() };
    let residual_start = match case.residual {
        Residual::None => std::ptr::null(),
        Residual::Separate => residual.as_ptr(),
        Residual::InPlace => c_start.cast_const(),
    };
    // SAFETY: `skips` has seen that the CPU runs this family; all slices are as long as the shape
    // says.
    unsafe { family.panel(case.rows)(&shape, a.as_ptr(), b.as_ptr(), b.as_ptr(), c_start, bias_start, residual_start) };

    let mut expected: Vec<(f64, f64)> = before.iter().map(|&value| (value.into(), 0.0)).collect();
    for row in 0..case.rows {
        for column in 0..case.columns {
            let at = row * c_stride + column;
            let mut terms = Vec::new();
            let mut k = 0;
            for segment in &case.segments {
                for step in 0..segment.length {
                    let words = [a[row * case.a_stride + segment.offset + step], b[k * family.nr + column]];
                    let [left, right] = words.map(|word| factors(family.element, word));
                    terms.extend(left.zip(right).map(|(left, right)| left * right));
                    k += 1;
                }
            }
            if case.accumulate {
                terms.push(before[MARGIN + at].into());
            }
            if case.bias {
                terms.push(bias[column].into());
            }
            match case.residual {
                Residual::None => {}
                Residual::Separate => terms.push(residual[at].into()),
                Residual::InPlace => terms.push(before[MARGIN + at].into()),
            }
            let magnitude: f64 = terms.iter().map(|term| term.abs()).sum();
            let tolerance = magnitude * f64::from(f32::EPSILON) * (terms.len() + 1) as f64;
            expected[MARGIN + at] = (terms.iter().sum(), tolerance);
        }
    }
    for (index, (&found, &(value, tolerance))) in c.iter().zip(&expected).enumerate() {
        let error = (f64::from(found) - value).abs();
        if error.is_nan() || error > tolerance {
            let at = index as isize - MARGIN as isize;
            return Err(format!("{}: C[{at}] is {found}, expected {value} +- {tolerance:e}: {case:?}", family.name));
        }
    }
    Ok(())
}

/// The numbers in a word of A or B.
fn factors(element: Element, word: f32) -> impl Iterator<Item = f64> {
    let [low, high] = [word.to_bits() << 16, word.to_bits() >> 16 << 16].map(f32::from_bits);
    let (numbers, count) = if element == Element::F32 { ([word, 0.0], 1) } else { ([low, high], 2) };
    numbers.into_iter().take(count).map(f64::from)
}

/// Xorshift: enough for test data.
struct Random(u64);

impl Random {
    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// Words of A or B, from -1 to 1 each number in them.
    fn words(&mut self, element: Element, count: usize) -> Vec<f32> {
        match element {
            Element::F32 => self.values(count),
            Element::Bf16 => (0..count).map(|_| pair([self.value(), self.value()])).collect(),
        }
    }

    fn value(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
