//! Configurations that no model was tuned on, in `goldens/held-out`: other numbers of levels, odd
//! numbers of channels, other compressions, short clips and odd sizes; each case through the evaluator
//! and on each instruction set of this machine.

use std::fs;

use tessera::{Backend, Precision, RunOptions, Vae};
use tests::golden_run::{assert_near, run};
use tests::{Case, goldens, targets};

#[test]
fn held_out_configurations() {
    let of = |backend| RunOptions::default().with_backend(backend).with_threads(2);
    let native = targets(Precision::F32).into_iter();
    let native = native.map(|target| (target.to_string(), of(Backend::Cpu).with_target(target)));
    let ways: Vec<_> = [("interpret".to_owned(), of(Backend::Interpret))].into_iter().chain(native).collect();
    let folders = fs::read_dir(goldens().join("held-out")).expect("golden cases").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().expect("a name")).collect();
    names.sort_unstable();
    assert!(!names.is_empty());
    for name in names {
        let checkpoint = format!("held-out/{name}");
        let vae = Vae::open(&goldens().join(&checkpoint)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(vae.warnings(), &[] as &[String], "{name}");
        for case in Case::all(&checkpoint) {
            for (way, options) in &ways {
                let found = run(&vae, &case, options.clone(), &mut ());
                assert_near(&format!("{name} {} on {way}", case.name), &case.tensors["output"], &found);
            }
        }
    }
}
