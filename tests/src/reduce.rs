//! Making a program that fails smaller while it fails: outputs are left out, ops are skipped, and
//! what an op computes is given from outside. What is left is a file for the filetests.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ir::analysis::reachable;
use ir::{Builder, ElementType, Graph, Op, Output, Role, Value};

/// Programs that are tried, at most.
const MOST_TRIES: usize = 600;

/// What becomes of an op.
#[derive(Clone, Copy)]
enum Change {
    /// Its result is given from outside.
    Given,
    /// Whoever reads it reads this operand.
    Skipped(Value),
}

/// The smallest program found for which `fails` still holds, as it does for `graph`.
pub fn reduce(graph: &Graph, fails: &mut dyn FnMut(&Graph) -> bool) -> Graph {
    let mut best = graph.clone();
    let mut tries = 0;
    let mut better = |best: &mut Graph, candidate: Option<Graph>| {
        let Some(candidate) = candidate.filter(|c| tries < MOST_TRIES && size(c) < size(best)) else { return false };
        tries += 1;
        let fails = fails(&candidate);
        if fails {
            *best = candidate;
        }
        fails
    };
    loop {
        let before = size(&best);
        // The first op that fails by itself, with all that it reads.
        let whole = best.clone();
        for (value, _) in whole.nodes().filter(|(_, node)| !node.op.is_leaf()) {
            let is_f32 = whole.ty(value).element == ElementType::F32;
            let role = if is_f32 { Role::Result } else { Role::State };
            let alone = Output { role, name: "y".to_owned(), value };
            if better(&mut best, rebuild(&whole, &HashMap::new(), &[alone])) {
                break;
            }
        }
        let mut index = best.outputs().len();
        while index > 0 && best.outputs().len() > 1 {
            index -= 1;
            let mut fewer = best.outputs().to_vec();
            fewer.remove(index);
            let candidate = rebuild(&best, &HashMap::new(), &fewer);
            better(&mut best, candidate);
        }
        let mut index = best.len();
        while index > 0 {
            index = index.min(best.len());
            let Some((value, node)) = best.nodes().nth(index - 1) else { break };
            let same = |operand: &Value| best.ty(*operand) == &node.ty;
            let operands: Vec<Value> = node.op.operands().into_iter().filter(same).collect();
            let mut changes: Vec<Change> = operands.into_iter().map(Change::Skipped).collect();
            if !node.op.is_leaf() {
                changes.insert(0, Change::Given);
            }
            for change in changes {
                let outputs = best.outputs().to_vec();
                let candidate = rebuild(&best, &HashMap::from([(value, change)]), &outputs);
                if better(&mut best, candidate) {
                    break;
                }
            }
            index -= 1;
        }
        if size(&best) == before {
            return best;
        }
    }
}

/// What is to become small: ops that compute, then all ops, then outputs.
fn size(graph: &Graph) -> (usize, usize, usize) {
    (graph.nodes().filter(|(_, node)| !node.op.is_leaf()).count(), graph.len(), graph.outputs().len())
}

/// `graph` with these changes and outputs, without what nothing needs; `None` if that breaks a
/// rule.
fn rebuild(graph: &Graph, changes: &HashMap<Value, Change>, outputs: &[Output]) -> Option<Graph> {
    let mut b = Builder::new(graph.name.clone());
    let mut new_of: Vec<Value> = Vec::with_capacity(graph.len());
    for (value, node) in graph.nodes() {
        b.set_path(node.path.clone());
        let new = match changes.get(&value) {
            Some(Change::Skipped(operand)) => new_of[operand.index()],
            Some(Change::Given) => b.push(given(graph, value)).ok()?,
            None => {
                let mut op = node.op.clone();
                op.map_operands(&mut |old| new_of[old.index()]);
                b.push(op).ok()?
            }
        };
        new_of.push(new);
    }
    for Output { role, name, value } in outputs {
        b.output(*role, name.clone(), new_of[value.index()]);
    }
    let changed = b.finish();
    let needed = reachable(&changed);
    if needed.iter().all(|needed| *needed) { Some(changed) } else { without(&changed, &needed) }
}

/// The ops that are needed.
fn without(graph: &Graph, needed: &[bool]) -> Option<Graph> {
    let mut b = Builder::new(graph.name.clone());
    let mut new_of = HashMap::new();
    for (value, node) in graph.nodes().filter(|(value, _)| needed[value.index()]) {
        b.set_path(node.path.clone());
        let mut op = node.op.clone();
        op.map_operands(&mut |old| new_of[&old]);
        new_of.insert(value, b.push(op).ok()?);
    }
    for output in graph.outputs() {
        b.output(output.role, output.name.clone(), new_of[&output.value]);
    }
    Some(b.finish())
}

/// A leaf in the place of a value: of a weight a parameter, of an activation an input, or a state,
/// since inputs are f32.
fn given(graph: &Graph, value: Value) -> Op {
    let (name, ty) = (format!("given.{}", value.index()), graph.ty(value).clone());
    match ty.element {
        _ if ir::analysis::weight_only(graph)[value.index()] => Op::Parameter { name, ty },
        ElementType::F32 => Op::Input { name, ty },
        _ => Op::State { name, ty },
    }
}

/// Writes a program as a filetest that says how it was found; where.
///
/// # Panics
/// When the file cannot be written.
pub fn write_filetest(folder: &Path, name: &str, graph: &Graph, found: &str) -> PathBuf {
    let path = folder.join(format!("{name}.ir"));
    let found = found.lines().fold(String::new(), |text, line| text + "//   " + line + "\n");
    let program = ir::text::print(graph);
    let text =
        format!("// pass: cpu-pipeline\n// expect: same meaning\n// Found by random programs:\n{found}{program}\n");
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}
