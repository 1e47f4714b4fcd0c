//! The module around the lines: the signature of `main` and what it returns.

use std::fmt::Write as _;

use super::body::{Tensor, text_of};
use crate::mesh::Mesh;
use crate::module::{Argument, ModuleResult};

/// The text of the module `name`, whose `main` has these lines and returns `returned`.
pub(super) fn module(
    name: &str,
    mesh: Mesh,
    arguments: &[(Argument, Tensor)],
    results: &[ModuleResult],
    lines: &str,
    returned: &[Tensor],
) -> String {
    let mut text = format!("module @{name:?} {{\n");
    if mesh.devices() > 1 {
        let _ = writeln!(text, "  {}", mesh.declaration());
    }
    text.push_str("  func.func public @main(\n");
    let sharding = |ty: &ir::TensorType| (mesh.devices() > 1).then(|| mesh.sharding(ty));
    for (i, (argument, tensor)) in arguments.iter().enumerate() {
        let alias = argument.donated_to.map(|to| format!("tf.aliasing_output = {to} : i32"));
        let comma = if i + 1 < arguments.len() { "," } else { "" };
        let (ty, name) = (tensor.ty(), &argument.name);
        let attributes = attributes([alias, sharding(&argument.ty)]);
        let _ = writeln!(text, "    {}: {ty}{attributes} loc({name:?}){comma}", tensor.name);
    }
    text.push_str("  ) -> (\n");
    for (i, result) in results.iter().enumerate() {
        let comma = if i + 1 < results.len() { "," } else { "" };
        let (ty, attributes) = (text_of(&result.ty), attributes([None, sharding(&result.ty)]));
        let _ = writeln!(text, "    {ty}{attributes}{comma} // {} {}", result.role.word(), result.name.escape_debug());
    }
    text.push_str("  ) {\n");
    text.push_str(lines);
    let (names, types): (Vec<&str>, Vec<String>) = returned.iter().map(|t| (t.name.as_str(), t.ty())).unzip();
    let colon = if names.is_empty() { "" } else { " : " };
    let _ = writeln!(text, "    return {}{colon}{}\n  }}\n}}", names.join(", "), types.join(", "));
    text
}

/// Attributes of an argument or a result.
fn attributes(all: [Option<String>; 2]) -> String {
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!(" {{{}}}", all.join(", ")) }
}
