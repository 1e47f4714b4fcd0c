//! Speed of every contraction panel at its full height, and the share of what one core can multiply
//! and add at most.
//!
//! First a short table (best of many calls against the peak of a loop that stays in registers),
//! then criterion's figures. Each kernel reads A as a 3x3 convolution of 128 channels does: three
//! segments of 384, rows 128 apart; the second depth has four. B fits in the second-level cache and
//! is larger than the first.

use std::hint::black_box;
use std::time::{Duration, Instant};

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::panel::{PanelFamily, PanelShape, Segment};
use criterion::{BenchmarkId, Criterion, Throughput};

/// Input channels: the distance between two rows of A.
const CHANNELS: usize = 128;
/// Elements of one padded row of the image.
const IMAGE_ROW: usize = 66 * CHANNELS;

/// A panel call with its data.
struct Call {
    family: &'static PanelFamily,
    segments: Vec<Segment>,
    a: AlignedBuffer,
    b: AlignedBuffer,
    c: AlignedBuffer,
}

impl Call {
    fn new(family: &'static PanelFamily, segment_count: usize) -> Call {
        let buffer = |elements| {
            let mut buffer = AlignedBuffer::zeroed(elements).expect("memory for a bench");
            buffer.fill(0.5);
            buffer
        };
        let segments: Vec<_> =
            (0..segment_count).map(|row| Segment { offset: row * IMAGE_ROW, length: 3 * CHANNELS }).collect();
        let depth = segment_count * 3 * CHANNELS;
        Call {
            family,
            a: buffer(segment_count * IMAGE_ROW),
            b: buffer(depth * family.nr),
            c: buffer(family.max_rows() * CHANNELS),
            segments,
        }
    }

    fn depth(&self) -> usize {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn flops(&self) -> u64 {
        (2 * self.family.max_rows() * self.family.nr * self.depth()) as u64
    }

    fn run(&mut self) {
        let shape = PanelShape {
            a_stride: CHANNELS,
            c_stride: CHANNELS,
            segments: self.segments.as_ptr(),
            segment_count: self.segments.len(),
            columns: self.family.nr,
            accumulate: 0,
        };
        let panel = self.family.panel(self.family.max_rows());
        let none = std::ptr::null();
        // SAFETY: only supported instruction sets are asked for, and the buffers are as long as the
        // shape says.
        unsafe { panel(&shape, self.a.as_ptr(), self.b.as_ptr(), self.b.as_ptr(), self.c.as_mut_ptr(), none, none) };
        black_box(self.c.as_ptr());
    }
}

/// Multiply-adds that never leave the registers: what bounds every kernel of an instruction set.
mod peak {
    use super::Isa;
    #[cfg(target_arch = "x86_64")]
    use super::black_box;

    /// Rounds of one call of [`run`].
    #[cfg(target_arch = "x86_64")]
    const ROUNDS: usize = 20_000;

    /// Runs the loop, and says how many flops that was. Nothing where the vectors of the portable
    /// kernels are not SSE2.
    pub(super) fn run(isa: Isa) -> Option<u64> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                // SAFETY: only supported instruction sets are asked for.
                unsafe { avx512() };
                Some((ROUNDS * 12 * 16 * 2) as u64)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                // SAFETY: only supported instruction sets are asked for.
                unsafe { avx2() };
                Some((ROUNDS * 12 * 8 * 2) as u64)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Portable => {
                // SAFETY: every x86-64 CPU has SSE2.
                unsafe { sse2() };
                Some((ROUNDS * 12 * 4 * 2) as u64)
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn avx512() {
        use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
        let (x, y) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        let mut sums = [_mm512_set1_ps(black_box(1.0)); 12];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2() {
        use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
        let (x, y) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
        let mut sums = [_mm256_set1_ps(black_box(1.0)); 12];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }

    /// Multiplies, then adds: SSE2 has no fused form.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "sse2")]
    fn sse2() {
        use std::arch::x86_64::{_mm_add_ps, _mm_mul_ps, _mm_set1_ps};
        let (x, y) = (_mm_set1_ps(black_box(0.5)), _mm_set1_ps(black_box(0.25)));
        let mut sums = [_mm_set1_ps(black_box(1.0)); 12];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm_add_ps(_mm_mul_ps(*sum, x), y);
            }
        }
        black_box(sums);
    }
}

/// The shortest of many runs, in seconds: what is left when other work on the machine does not
/// interfere.
fn shortest(mut work: impl FnMut()) -> f64 {
    let end = Instant::now() + Duration::from_millis(400);
    let mut best = Duration::MAX;
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..8 {
            work();
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() / 8.0
}

fn families() -> impl Iterator<Item = &'static PanelFamily> {
    Isa::supported().into_iter().flat_map(PanelFamily::all)
}

fn print_shares() {
    println!("{:24} {:>6} {:>10} {:>10} {:>7}", "panel", "K", "GFLOP/s", "peak", "share");
    for family in families() {
        for segment_count in [3, 4] {
            let mut call = Call::new(family, segment_count);
            let speed = call.flops() as f64 / shortest(|| call.run()) / 1e9;
            // The clock is not the same from minute to minute: the peak is measured beside each
            // kernel.
            let peak = peak::run(family.isa).map(|flops| {
                flops as f64
                    / shortest(|| {
                        peak::run(family.isa);
                    })
                    / 1e9
            });
            let share = peak.map_or("-".to_owned(), |peak| format!("{:.1} %", 100.0 * speed / peak));
            let peak = peak.map_or("-".to_owned(), |peak| format!("{peak:.1}"));
            println!("{:24} {:6} {speed:10.1} {peak:>10} {share:>7}", family.name, call.depth());
        }
    }
}

fn main() {
    print_shares();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group("panel");
    for family in families() {
        for segment_count in [3, 4] {
            let mut call = Call::new(family, segment_count);
            group.throughput(Throughput::Elements(call.flops()));
            group.bench_function(BenchmarkId::new(family.name, call.depth()), |bencher| bencher.iter(|| call.run()));
        }
    }
    group.finish();
    criterion.final_summary();
}
