//! The op reference page, `OPS.md`, is made of the op table. `TESSERA_BLESS=1 cargo test -p ir`
//! writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use ir::op::{Arity, OpInfo, TABLE};

fn syntax(op: &OpInfo) -> String {
    let operands = op.operands.iter().map(|operand| match operand.arity {
        Arity::One => format!("%{}", operand.name),
        Arity::Optional => format!("{0}: %{0}", operand.name),
        Arity::Many => format!("[%{}, ...]", operand.name),
    });
    // An attribute that the result's type shows is not written out.
    let written = op.attributes.iter().filter(|a| a.name != "ty").map(|a| format!("{} = ...", a.name));
    let (operands, attributes) = (operands.collect::<Vec<_>>().join(", "), written.collect::<Vec<_>>().join(", "));
    let mut line = format!("%result = {}", op.mnemonic);
    if !operands.is_empty() {
        line += &format!(" {operands}");
    }
    if !attributes.is_empty() {
        line += &format!(" {{{attributes}}}");
    }
    line + " : tensor<...>"
}

fn reference() -> String {
    let mut page = String::from(
        "# Ops\n\nMade of the op table in `src/op.rs`; `TESSERA_BLESS=1 cargo test -p ir` writes this page anew.\n\n\
         Operands written `name: %value` may be left out. Every op has one result, whose type is inferred; its \
         constraints are numbered in `src/shape.rs`, and what it computes is in `src/eval`. The text format is in \
         `src/text/mod.rs`, what classes and the roles of operands mean in `src/operand.rs`.\n",
    );
    for op in TABLE {
        let doc: Vec<&str> = op.doc.lines().map(str::trim).collect();
        let _ = write!(page, "\n## {}\n\n```text\n{}\n```\n\n{}\n", op.mnemonic, syntax(op), doc.join("\n").trim());
        let roles = op.operands.iter().map(|operand| format!(", `{}`: {}", operand.name, operand.role.word()));
        let _ = writeln!(page, "\nClass: {}{}.", op.class.word(), roles.collect::<String>());
        if !op.attributes.is_empty() {
            page += "\n| attribute | what to write |\n|---|---|\n";
            for attribute in op.attributes {
                let _ = writeln!(page, "| `{}` | {} |", attribute.name, attribute.expected);
            }
        }
    }
    page
}

#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("OPS.md");
    if ir::knobs::BLESS.is_on() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference(), "ir/OPS.md is out of date: run `TESSERA_BLESS=1 cargo test -p ir`");
}
