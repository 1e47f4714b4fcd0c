//! Printing graphs as text.

use std::fmt::Write as _;

use crate::graph::{Graph, Output, Value};
use crate::op::{Arity, OperandInfo};

/// The whole graph, a line an op; ends with a newline.
pub fn print(graph: &Graph) -> String {
    let mut text = format!("graph @{} {{\n", graph.name);
    for (value, _) in graph.nodes() {
        text += "  ";
        text += &print_node(graph, value);
        text += "\n";
    }
    for output in graph.outputs() {
        let _ = writeln!(text, "  {}", print_output(output));
    }
    text += "}\n";
    text
}

/// One output, without indentation or newline.
pub fn print_output(output: &Output) -> String {
    format!("return {} {:?} = {}", output.role.word(), output.name, output.value)
}

/// One op of the graph, without indentation or newline.
pub fn print_node(graph: &Graph, value: Value) -> String {
    let node = graph.node(value);
    let mut text = format!("{value} = {}", node.op.mnemonic());
    let mut separator = " ";
    node.op.visit_operands(&mut |OperandInfo { name, arity, .. }, values| {
        let list = values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let printed = match arity {
            Arity::One => list,
            Arity::Many => format!("[{list}]"),
            Arity::Optional if values.is_empty() => return,
            Arity::Optional => format!("{name}: {list}"),
        };
        text += separator;
        text += &printed;
        separator = ", ";
    });
    let attributes = node.op.attributes();
    if !attributes.is_empty() {
        let list = attributes.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ");
        let _ = write!(text, " {{{list}}}");
    }
    let _ = write!(text, " : {}", node.ty);
    if !node.path.is_empty() {
        let _ = write!(text, " @ {}", node.path);
    }
    text
}
