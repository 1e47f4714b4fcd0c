//! Speed of packing the weights of one large layer, 512 -> 512 channels and 3x3x3 taps, from both
//! source orders.

use std::hint::black_box;

use backend_cpu::element::Element;
use backend_cpu::isa::Isa;
use backend_cpu::pack::{WeightAxes, WeightView, pack};
use backend_cpu::panel::PanelFamily;
use criterion::{Criterion, Throughput};

fn main() {
    let sizes = WeightAxes { output: 512, input: 512, depth: 3, height: 3, width: 3 };
    let values = vec![0.5; 512 * 512 * 27];
    let family = PanelFamily::for_columns(Isa::probe(), Element::F32, sizes.output);
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let mut group = criterion.benchmark_group("pack");
    group.throughput(Throughput::Bytes(size_of_val(&values[..]) as u64));
    for (name, view) in [("oidhw", WeightView::oidhw(&values, sizes)), ("dhwio", WeightView::dhwio(&values, sizes))] {
        let view = view.expect("the memory is as large as the sizes say");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(pack(view, family))));
    }
    group.finish();
    criterion.final_summary();
}
