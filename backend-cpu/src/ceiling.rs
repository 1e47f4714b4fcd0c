//! What this machine reaches at most, measured: arithmetic of the panels and bandwidth of memory.
//! Times of kernels are judged by it; nothing here chooses how a kernel runs.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use crate::buffer::{AlignedBuffer, BufferError};
use crate::element::Element;
use crate::isa::Isa;
use crate::panel::{PanelFamily, PanelShape, Segment};

/// Bytes of a panel's operands, which stay in the first-level cache: 32 KiB on the smallest
/// machines.
const IN_CACHE: usize = 24 << 10;

/// How long all threads work at once, and how often; the best counts, since others may be at work
/// on the machine.
const WINDOW: Duration = Duration::from_millis(15);
const WINDOWS: usize = 8;

/// Passes over memory; the best counts.
const PASSES: usize = 4;

/// The most floating-point operations a second that the panels of `isa` reach on all threads of
/// `pool` together, their operands in the first-level cache.
///
/// # Errors
/// When there is no memory for the operands.
///
/// # Panics
/// The CPU cannot run `isa`.
pub fn peak_flops(isa: Isa, pool: &ThreadPool) -> Result<f64, BufferError> {
    assert!(isa.is_supported(), "this CPU cannot run {isa}");
    let [family, _] = PanelFamily::of(isa, Element::F32).unwrap_or_else(|| panic!("no panels are compiled for {isa}"));
    let rows = family.max_rows();
    let depth = (IN_CACHE / size_of::<f32>() - rows * family.nr) / (rows + family.nr) / 4 * 4;
    let flops = (2 * rows * family.nr * depth) as f64;
    let begin = Barrier::new(pool.current_num_threads());
    let work = |_: rayon::BroadcastContext<'_>| -> Result<Vec<f64>, BufferError> {
        let buffer = |elements| -> Result<AlignedBuffer, BufferError> {
            let mut buffer = AlignedBuffer::zeroed(elements)?;
            buffer.fill(0.5);
            Ok(buffer)
        };
        let operands = [rows * depth, depth * family.nr, rows * family.nr].map(buffer);
        // Every thread comes to every barrier, whatever befell it.
        let mut rates = Vec::with_capacity(WINDOWS);
        let [Ok(a), Ok(b), Ok(mut c)] = operands else {
            (0..WINDOWS).for_each(|_| {
                begin.wait();
            });
            return operands.into_iter().collect::<Result<Vec<_>, _>>().map(|_| rates);
        };
        let segment = Segment { offset: 0, length: depth };
        let shape = PanelShape {
            a_stride: depth,
            c_stride: family.nr,
            segments: &segment,
            segment_count: 1,
            columns: family.nr,
            accumulate: 0,
        };
        let panel = family.panel(rows);
        for _ in 0..WINDOWS {
            begin.wait();
            let (started, mut calls) = (Instant::now(), 0.0);
            while started.elapsed() < WINDOW {
                for _ in 0..16 {
                    let none = std::ptr::null();
                    // SAFETY: the CPU runs the instruction set, asserted above; A has `rows` rows
                    // of `depth`, B `depth` rows of `nr` and C `rows` rows of `nr` elements, which
                    // are this thread's own.
                    unsafe { panel(&shape, a.as_ptr(), b.as_ptr(), b.as_ptr(), c.as_mut_ptr(), none, none) };
                    black_box(c.as_ptr());
                }
                calls += 16.0;
            }
            rates.push(calls * flops / started.elapsed().as_secs_f64());
        }
        Ok(rates)
    };
    let threads = pool.broadcast(work).into_iter().collect::<Result<Vec<_>, _>>()?;
    let together = (0..WINDOWS).map(|window| threads.iter().map(|rates| rates[window]).sum::<f64>());
    Ok(together.fold(0.0, f64::max))
}

/// Bytes a second that all threads of `pool` together read and write at most, from and to memory:
/// the sum `a = b + s * c` of McCalpin's STREAM over arrays that no cache holds. Bytes that the
/// machine reads because it is about to write there are not counted.
///
/// # Errors
/// When there is no memory for the arrays.
pub fn memory_bandwidth(pool: &ThreadPool) -> Result<f64, BufferError> {
    let elements = stream_bytes() / 3 / size_of::<f32>();
    let mut a = AlignedBuffer::<f32>::zeroed(elements)?;
    let mut b = AlignedBuffer::<f32>::zeroed(elements)?;
    let mut c = AlignedBuffer::<f32>::zeroed(elements)?;
    let share = elements.div_ceil(pool.current_num_threads());
    // Memory is there once its pages were touched.
    pool.in_place_scope(|scope| {
        for part in [&mut a, &mut b, &mut c].into_iter().flat_map(|array| array.chunks_mut(share)) {
            scope.spawn(move |_| part.fill(0.5));
        }
    });
    let best = (0..PASSES).map(|_| {
        let started = Instant::now();
        pool.in_place_scope(|scope| {
            for ((a, b), c) in a.chunks_mut(share).zip(b.chunks(share)).zip(c.chunks(share)) {
                scope.spawn(move |_| a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + 0.25 * c));
            }
        });
        black_box(a.as_ptr());
        started.elapsed().as_secs_f64()
    });
    let seconds = best.fold(f64::INFINITY, f64::min);
    Ok((3 * elements * size_of::<f32>()) as f64 / seconds)
}

/// Bytes of all arrays: twice the largest cache, within reason.
fn stream_bytes() -> usize {
    let folder = "/sys/devices/system/cpu/cpu0/cache/";
    let size = |level: usize| std::fs::read_to_string(format!("{folder}index{level}/size")).ok();
    let kibibytes = |text: String| text.trim().trim_end_matches('K').parse::<usize>().ok();
    let cache = (0..5).filter_map(size).filter_map(kibibytes).max().unwrap_or(32 << 10) << 10;
    (2 * cache).clamp(96 << 20, 1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How fast is no matter of a test: that it is a speed, and that all threads come to an end,
    /// is.
    #[test]
    fn ceilings_are_speeds() {
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let bandwidth = memory_bandwidth(&pool).unwrap();
            let peaks = Isa::supported().into_iter().map(|isa| peak_flops(isa, &pool).unwrap());
            for speed in peaks.chain([bandwidth]) {
                assert!(speed.is_finite() && speed > 0.0, "{threads} threads: {speed}");
            }
        }
    }
}
