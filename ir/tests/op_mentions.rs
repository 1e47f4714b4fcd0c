//! A new op touches its row of the table, its shape function, its evaluator arm and one lowering a
//! backend, and nothing else: what passes, planner, cost analysis and emitters must know of it is
//! in its row. Counted here, in the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ir::Class;
use ir::op::TABLE;

/// Where each op is named, beside its row.
const NEEDED: [&str; 4] = [
    "backend-cpu/src/instruction_selection.rs",
    "backend-tpu-stablehlo/src/emit/mod.rs",
    "ir/src/eval/mod.rs",
    "ir/src/shape.rs",
];

/// Which files are about particular ops, and which: rewrites, and what a backend does with several
/// ops at once. An op that nothing rewrites stands nowhere here.
const REWRITES: &[(&str, &[&str])] = &[
    ("backend-cpu/src/instruction_selection/attention.rs", &["Attention", "LinearAttention"]),
    (
        "backend-cpu/src/instruction_selection/convolution.rs",
        &["ChannelNorm", "Convolution", "Normalize", "ResizeNearest"],
    ),
    ("backend-cpu/src/instruction_selection/gathers.rs", &["Pad", "Reshape", "ResizeNearest", "Slice", "Transpose"]),
    ("backend-tpu-stablehlo/src/emit/plan.rs", &["ChannelNorm", "Convolution", "Normalize", "ResizeNearest", "Slice"]),
    ("ir/src/recipe.rs", &["Convert", "Reshape", "Transpose"]),
    ("passes/src/assign_precision.rs", &["Convert", "Reshape"]),
    (
        "passes/src/canonicalize/mod.rs",
        &[
            "Add",
            "AveragePool",
            "Concatenate",
            "Convert",
            "Multiply",
            "Pad",
            "Reshape",
            "ResizeNearest",
            "Slice",
            "Transpose",
        ],
    ),
    ("passes/src/canonicalize/order.rs", &["Reshape", "Transpose"]),
    ("passes/src/canonicalize/windows.rs", &["Concatenate", "Pad", "Slice"]),
    ("passes/src/channel_last.rs", &["Reshape", "Transpose"]),
    ("passes/src/commute_resize.rs", &["AddBias", "Convolution", "ResizeNearest"]),
    ("passes/src/fuse_bias.rs", &["AddBias", "Convolution", "GroupedConvolution"]),
    (
        "passes/src/fuse_normalization.rs",
        &["Add", "ChannelNorm", "GroupNorm", "GroupStatistics", "Multiply", "Normalize", "ResizeNearest", "Silu"],
    ),
    ("passes/src/fuse_padding.rs", &["Concatenate", "Convolution", "Pad"]),
    ("passes/src/fuse_residual.rs", &["Add", "Convolution"]),
    ("passes/src/inline.rs", &["ChannelNorm", "Convolution", "Normalize", "ResizeNearest", "Slice"]),
    ("passes/src/legality.rs", &["Convert", "Reshape", "Transpose"]),
];

/// The op's name in the sources.
fn variant(mnemonic: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    mnemonic.split('_').map(word).collect()
}

/// By op: the files that name it, tests and comments aside.
fn mentions() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut mentions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", "tests", "benches"].contains(&name.as_str()) && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let file = path.strip_prefix(&root).expect("below the root").components();
                let file: Vec<_> = file.map(|part| part.as_os_str().to_string_lossy()).collect();
                let text = fs::read_to_string(&path).expect("a source file");
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                    for rest in line.split("Op::").skip(1) {
                        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
                        mentions.entry(rest[..end].to_owned()).or_default().insert(file.join("/"));
                    }
                }
            }
        }
    }
    mentions
}

#[test]
fn an_op_is_named_where_it_must_be_and_nowhere_else() {
    let mentions = mentions();
    let mut wrong = vec![];
    for row in TABLE.iter().filter(|row| row.class != Class::Leaf) {
        let op = variant(row.mnemonic);
        let found = mentions.get(&op).cloned().unwrap_or_default();
        let rewritten = REWRITES.iter().filter(|(_, ops)| ops.contains(&op.as_str())).map(|(file, _)| file);
        let expected: BTreeSet<String> = NEEDED.iter().chain(rewritten).map(|file| (*file).to_owned()).collect();
        let more: Vec<_> = found.difference(&expected).collect();
        let fewer: Vec<_> = expected.difference(&found).collect();
        if !more.is_empty() || !fewer.is_empty() {
            wrong.push(format!("{op}: named in {more:?}, not named in {fewer:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "what is known of an op belongs into its row of ir/src/op.rs, unless a rewrite is about just that op (then say \
         so in REWRITES):\n{}",
        wrong.join("\n")
    );
}
