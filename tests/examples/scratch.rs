#![allow(missing_docs)]
use backend_cpu::{isa::Isa, program::*, weights::*};
use frontend::*;
use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
struct Source(runtime::checkpoint::Checkpoint);
impl ParameterSource for Source {
    fn parameter(
        &self,
        name: &str,
        _ty: &ir::TensorType,
    ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Cow::Owned(self.0.to_f32(name)?))
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let dir = std::path::Path::new(&a[1]);
    let n = |i: usize| a[i].parse::<usize>().unwrap();
    let (config, _) = Config::from_json(&std::fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    let step = Step { kind: StepKind::DecodeFirst, batch: 1, frames: n(2), height: n(3), width: n(4) };
    let t = Instant::now();
    let declared = declare(&config, &step, &Taps::None).unwrap();
    println!("declare {:?} {} ops", t.elapsed(), declared.len());
    let t = Instant::now();
    let graph = passes::pipeline::run(passes::pipeline::cpu_pipeline(), &declared, &mut |_, _, _| {}).unwrap();
    println!("passes {:?} {} ops", t.elapsed(), graph.len());
    if a.len() > 6 {
        println!("{}", ir::text::print(&graph));
    }
    let t = Instant::now();
    let isa = Isa::from_env_or_probe().unwrap();
    let program = Arc::new(compile(&graph, isa).unwrap());
    for (k, c) in program.kernels() {
        if k.starts_with("conv") {
            println!("{c:3} {k}");
        }
    }
    println!("compile {:?} kernels {} arena {} MB", t.elapsed(), program.kernels().len(), program.arena_bytes() >> 20);
    let t = Instant::now();
    let checkpoint = runtime::checkpoint::Checkpoint::open(dir).unwrap();
    let weights = Weights::new(Arc::new(Source(checkpoint)));
    let mut ws = Workspace::new(n(5)).unwrap();
    let exe = ws.pool().install(|| program.bind(&weights)).unwrap();
    println!("bind {:?} {} MB", t.elapsed(), weights.bytes() >> 20);
    let flops = ir::analysis::total_cost(&graph).flops as f64;
    let input: Vec<f32> =
        (0..program.inputs().next().unwrap().ty.elements()).map(|i| ((i * 7919 % 1000) as f32 / 500.0) - 1.0).collect();
    for _ in 0..4 {
        let t = Instant::now();
        let mut last = (Instant::now(), String::new(), 0.0);
        let mut times: std::collections::BTreeMap<String, (f64, f64, usize)> = Default::default();
        exe.run(&mut ws, &[&input], States::new(), &mut |done, path| {
            let now = Instant::now();
            let e = times.entry(std::mem::take(&mut last.1)).or_default();
            e.0 += (now - last.0).as_secs_f64();
            e.1 += (done - last.2) * flops;
            e.2 += 1;
            last = (now, path.to_string(), done);
            ControlFlow::Continue(())
        })
        .unwrap();
        let s = t.elapsed().as_secs_f64();
        println!("run {s:.3} s, {:.1} GFLOP/s", flops / s / 1e9);
        if std::env::var("PROF").is_ok() {
            let mut v: Vec<_> = times.into_iter().collect();
            v.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
            for (p, (s, f, n)) in v.iter().take(40) {
                println!("{:8.2} ms {:7.1} GF/s {n:3} {p}", s * 1e3, f / s / 1e9);
            }
        }
    }
}
