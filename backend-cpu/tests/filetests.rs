//! The filetests of the passes once more: each program, behind the whole pipeline, through native
//! code, in every precision.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use backend_cpu::element::Element;
use ir::{ElementType, Graph, Layout, Op};
use passes::pipeline::{Precision, cpu_pipeline, run};

/// Every filetest.
fn filetests() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../passes/tests/filetests");
    let folders = fs::read_dir(&root).expect("the filetests of package passes");
    let folders = folders.map(|entry| entry.expect("a folder").path());
    let mut files: Vec<_> = folders
        .flat_map(|folder| fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()))
        .collect();
    files.sort();
    files
}

/// Why this backend does not take a program, if so.
fn ignored(graph: &Graph) -> Option<&'static str> {
    let weights = ir::analysis::weight_only(graph);
    for (_, node) in graph.nodes() {
        if Element::of(node.ty.element).is_none() {
            return Some("neither f32 nor bf16");
        }
        if matches!(node.op, Op::Input { .. }) && node.ty.element != ElementType::F32 {
            return Some("callers give f32");
        }
        match &node.op {
            Op::Convolution { weight, .. } if !weights[weight.index()] => return Some("weights computed by the step"),
            Op::Convolution { input, .. } | Op::GroupStatistics { input, .. } | Op::AveragePool { input, .. }
                if graph.ty(*input).layout != Layout::NTHWC =>
            {
                return Some("channel-first");
            }
            _ => {}
        }
    }
    None
}

#[test]
fn filetests_run() {
    let (mut count, mut skipped) = (0, 0);
    for file in filetests() {
        let text = fs::read_to_string(&file).expect("a file");
        let program = text.split("// ----").next().unwrap_or(&text);
        // A program that is to be refused, and one that breaks a rule of the pipeline, have no
        // result to compare.
        let Ok(graph) = ir::text::parse(program) else { continue };
        for precision in Precision::ALL {
            let Ok(lowered) = run(cpu_pipeline(precision), &graph, &mut |_, _, _| {}) else { continue };
            match ignored(&lowered) {
                None => common::check(&lowered),
                Some(why) => {
                    println!("{} in {}: skipped, {why}", file.display(), precision.name());
                    skipped += 1;
                }
            }
            count += 1;
        }
    }
    println!("{count} programs, {skipped} skipped");
    assert!(count - skipped >= 80, "only {} of {count} programs run", count - skipped);
}
