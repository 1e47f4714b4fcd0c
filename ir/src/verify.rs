//! The verifier: everything that a graph must hold, whoever made it.
//!
//! 1. Every operand is defined before its use.
//! 2. Every op keeps the constraints of its shape function, and its recorded type is the inferred
//!    one.
//! 3. Inputs, states and parameters have unique names among their kind; an empty name is none.
//! 4. Every output is a value of the graph; names are unique among outputs of a role.
//! 5. A state that is read and left again keeps its type.
//! 6. The graph's name and the paths print and parse back: they hold no white space and no `{`.
//!
//! All errors are gathered, and printed with the op under which each stands.

use std::collections::HashMap;
use std::fmt;

use crate::graph::{Graph, Role, Value};
use crate::op::Op;
use crate::{shape, text};

/// One rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The op at fault; `None` when it is an output or the graph's name.
    pub value: Option<Value>,
    /// What was expected and what was found.
    pub message: String,
}

/// All rules that do not hold, with the program they were found in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct VerifyError {
    /// The graph's name.
    pub graph: String,
    /// What is wrong, in order of the ops.
    pub faults: Vec<Fault>,
    lines: Vec<String>,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, plural) = (self.faults.len(), if self.faults.len() == 1 { "" } else { "s" });
        write!(f, "graph @{} breaks {count} rule{plural}:", self.graph)?;
        for (fault, line) in self.faults.iter().zip(&self.lines) {
            write!(f, "\n  {line}\n    ^ {}", fault.message)?;
        }
        Ok(())
    }
}

/// Checks every rule of this module.
///
/// # Errors
/// All that is wrong, each under its op.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    let (mut faults, mut lines) = (Vec::new(), Vec::new());
    let mut names: HashMap<(&str, &str), Value> = HashMap::new();
    let mut states = HashMap::new();
    if !prints(&graph.name) {
        faults.push(Fault { value: None, message: format!("the name {:?} {UNPRINTABLE}", graph.name) });
        lines.push(format!("graph @{:?}", graph.name));
    }
    for (value, node) in graph.nodes() {
        let mut fault = |message| {
            faults.push(Fault { value: Some(value), message });
            lines.push(text::print_node(graph, value));
        };
        if let Some(late) = node.op.operands().into_iter().find(|o| *o >= value) {
            fault(format!("operand {late} is not defined before {value}"));
            continue;
        }
        match shape::infer(&node.op, graph) {
            Err(violation) => fault(violation.to_string()),
            Ok(ty) if ty != node.ty => fault(format!("recorded as {}, inferred as {ty}", node.ty)),
            Ok(_) => {}
        }
        if !prints(&node.path) {
            fault(format!("the path {:?} {UNPRINTABLE}", node.path));
        }
        if let Op::Input { name, .. } | Op::State { name, .. } | Op::Parameter { name, .. } = &node.op {
            if name.is_empty() {
                fault("the name is empty".to_owned());
            } else if let Some(first) = names.insert((node.op.mnemonic(), name), value) {
                fault(format!("{} \"{name}\" is declared before, as {first}", node.op.mnemonic()));
            }
        }
        if let Op::State { name, .. } = &node.op {
            states.insert(name.as_str(), &node.ty);
        }
    }
    let mut left = HashMap::new();
    for output in graph.outputs() {
        let mut fault = |message| {
            faults.push(Fault { value: None, message });
            lines.push(text::print_output(output));
        };
        let (word, name) = (output.role.word(), &output.name);
        if left.insert((output.role, name.as_str()), output.value).is_some() {
            fault(format!("{word} \"{name}\" is output twice"));
        }
        if output.value.index() >= graph.len() {
            fault(format!("{word} \"{name}\" is {}, which is not in the graph", output.value));
        } else if let (Role::State, Some(read)) = (output.role, states.get(name.as_str())) {
            let ty = graph.ty(output.value);
            if ty != *read {
                fault(format!("state \"{name}\" is read as {read} and left as {ty}"));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(VerifyError { graph: graph.name.clone(), faults, lines }) }
}

const UNPRINTABLE: &str = "holds white space or a brace, which the text format cannot carry";

/// Whether `name` can stand behind an `@`.
fn prints(name: &str) -> bool {
    !name.contains(|c: char| c.is_whitespace() || c == '{')
}
