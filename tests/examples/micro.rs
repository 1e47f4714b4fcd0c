#![allow(missing_docs)]
use backend_cpu::{buffer::AlignedBuffer, isa::Isa, panel::*};
use std::time::Instant;
fn main() {
    let f = PanelFamily::for_columns(Isa::probe(), 128);
    for (cin, rows, k, footprint) in [
        (128usize, 14usize, 1152usize, 1usize),
        (128, 14, 1152, 20),
        (128, 11, 1152, 20),
        (128, 14, 1152, 200),
        (32, 14, 864, 20),
        (32, 14, 864, 1),
        (512, 14, 1536, 20),
        (256, 11, 1383, 20),
    ] {
        let seg = 3 * cin;
        let mut segs = vec![];
        let mut left = k;
        let mut o = 0;
        while left > 0 {
            let l = seg.min(left);
            segs.push(Segment { offset: o, length: l });
            o += 40 * cin;
            left -= l;
        }
        let mut a = AlignedBuffer::zeroed(footprint * 14 * cin + 50 * cin * 40).unwrap();
        a.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 17) as f32 * 0.01);
        let mut b = AlignedBuffer::zeroed(k * f.nr).unwrap();
        b.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 13) as f32 * 0.01);
        let mut c = AlignedBuffer::zeroed(footprint * 14 * 128).unwrap();
        let shape = PanelShape {
            a_stride: cin,
            c_stride: 128,
            segments: segs.as_ptr(),
            segment_count: segs.len(),
            columns: f.nr,
            accumulate: 0,
        };
        let p = f.panel(rows);
        let mut best = f64::MAX;
        let mut tot = 0.0;
        let reps = 30;
        for _ in 0..reps {
            let t = Instant::now();
            for _ in 0..(200 / footprint).max(1) {
                for i in 0..footprint {
                    unsafe {
                        p(
                            &shape,
                            a.as_ptr().add(i * 14 * cin),
                            b.as_ptr(),
                            c.as_mut_ptr().add(i * 14 * 128),
                            std::ptr::null(),
                            std::ptr::null(),
                        )
                    }
                }
            }
            let s = t.elapsed().as_secs_f64() / ((200 / footprint).max(1) * footprint) as f64;
            best = best.min(s);
            tot += s;
        }
        let fl = 2.0 * (rows * k * f.nr) as f64;
        println!(
            "cin {cin} rows {rows} k {k} footprint {footprint}: best {:.1} mean {:.1} GF/s",
            fl / best / 1e9,
            fl * reps as f64 / tot / 1e9
        );
    }
}
