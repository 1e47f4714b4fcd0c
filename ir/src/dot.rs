//! Pictures of graphs, in Graphviz' DOT language.
//!
//! Ops are boxes labelled with value, op, what is left of the path, and type. They stand in nested
//! clusters named by the first components of their module path. Leaves and outputs have shapes of
//! their own. The same graph prints the same text.

use std::fmt::Write as _;

use petgraph::visit::EdgeRef;

use crate::analysis;
use crate::graph::{Graph, Value};
use crate::op::Op;

/// A module and what it holds, in order of first appearance.
#[derive(Default)]
struct Cluster<'g> {
    values: Vec<Value>,
    inner: Vec<(&'g str, Cluster<'g>)>,
}

/// The graph as a DOT digraph, with clusters for the first `depth` components of the module paths
/// (3 makes a readable picture of a VAE; 0 draws none). Render it with `dot -Tsvg`.
pub fn dot(graph: &Graph, depth: usize) -> String {
    let mut root = Cluster::default();
    for (value, node) in graph.nodes() {
        let mut cluster = &mut root;
        for module in modules(&node.path).take(depth) {
            let found = cluster.inner.iter().position(|(name, _)| *name == module);
            let at = found.unwrap_or_else(|| {
                cluster.inner.push((module, Cluster::default()));
                cluster.inner.len() - 1
            });
            cluster = &mut cluster.inner[at].1;
        }
        cluster.values.push(value);
    }
    let mut text = format!("digraph {} {{\n", quoted(&graph.name));
    text += "  node [shape=box, fontname=\"monospace\", fontsize=10];\n  edge [fontname=\"monospace\", fontsize=8];\n";
    print_cluster(graph, &root, depth, "cluster", 1, &mut text);
    for (i, output) in graph.outputs().iter().enumerate() {
        let label = quoted(&format!("{}\n{}", output.role.word(), output.name));
        let _ = writeln!(text, "  out{i} [label={label}, shape=doubleoctagon];");
        let _ = writeln!(text, "  v{} -> out{i};", output.value.index());
    }
    let dependences = analysis::dependences(graph);
    for edge in dependences.edge_references() {
        let (from, to) = (edge.source().index(), edge.target().index());
        let _ = writeln!(text, "  v{from} -> v{to} [label={}];", quoted(edge.weight()));
    }
    text += "}\n";
    text
}

fn modules(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|module| !module.is_empty())
}

fn print_cluster(graph: &Graph, cluster: &Cluster<'_>, depth: usize, id: &str, level: usize, text: &mut String) {
    let indent = "  ".repeat(level);
    for &value in &cluster.values {
        let node = graph.node(value);
        let rest = modules(&node.path).skip(depth).collect::<Vec<_>>().join(".");
        let name = match &node.op {
            Op::Input { name, .. } | Op::State { name, .. } | Op::Parameter { name, .. } => format!(" \"{name}\""),
            _ => String::new(),
        };
        let lines = [format!("{value} = {}{name}", node.op.mnemonic()), rest, node.ty.to_string()];
        let label = lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        let shape = match node.op {
            Op::Input { .. } | Op::State { .. } => ", shape=ellipse, style=filled, fillcolor=lightblue",
            Op::Parameter { .. } => ", shape=note, style=filled, fillcolor=lightyellow",
            Op::Constant { .. } => ", shape=plaintext",
            _ => "",
        };
        let _ = writeln!(text, "{indent}v{} [label={}{shape}];", value.index(), quoted(&label));
    }
    for (i, (name, inner)) in cluster.inner.iter().enumerate() {
        let id = format!("{id}_{i}");
        let _ = writeln!(text, "{indent}subgraph {id} {{\n{indent}  label={};", quoted(name));
        print_cluster(graph, inner, depth, &id, level + 1, text);
        let _ = writeln!(text, "{indent}}}");
    }
}

/// A DOT string: quotes and backslashes escaped, line ends as `\n`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn a_small_graph_prints_whole() {
        let graph = parse(
            r#"graph @g {
  %0 = input {name = "say \"x\\y\""} : tensor<2xf32>
  %1 = silu %0 : tensor<2xf32> @ decoder.up.0.act
  %2 = add %0, %1 : tensor<2xf32> @ decoder.up.1
  return result "y" = %2
}"#,
        )
        .unwrap();
        let expected = r#"digraph "g" {
  node [shape=box, fontname="monospace", fontsize=10];
  edge [fontname="monospace", fontsize=8];
  v0 [label="%0 = input \"say \"x\\y\"\"\ntensor<2xf32>", shape=ellipse, style=filled, fillcolor=lightblue];
  subgraph cluster_0 {
    label="decoder";
    subgraph cluster_0_0 {
      label="up";
      v1 [label="%1 = silu\n0.act\ntensor<2xf32>"];
      v2 [label="%2 = add\n1\ntensor<2xf32>"];
    }
  }
  out0 [label="result\ny", shape=doubleoctagon];
  v2 -> out0;
  v0 -> v1 [label="input"];
  v0 -> v2 [label="lhs"];
  v1 -> v2 [label="rhs"];
}
"#;
        assert_eq!(dot(&graph, 2), expected);
    }

    #[test]
    fn depth_zero_draws_no_cluster() {
        let graph = parse("graph @g {\n %0 = constant {value = 1.0} : tensor<f32> @ a.b\n}").unwrap();
        assert!(!dot(&graph, 0).contains("subgraph"));
    }
}
