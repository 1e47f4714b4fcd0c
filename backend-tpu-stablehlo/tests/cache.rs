//! Compiled programs on disk.

mod common;

use std::fs;
use std::path::PathBuf;

use backend_tpu_stablehlo::pjrt::cache::{ExecutableCache, Origin};
use backend_tpu_stablehlo::pjrt::{CompileOptions, Input, Optimization, Signature};
use common::client;
use ir::{ElementType, TensorType};

#[test]
fn programs_are_compiled_once_and_damage_is_found() {
    let Some(client) = client("programs_are_compiled_once_and_damage_is_found", 1) else { return };
    let ty = TensorType::plain(ElementType::F32, [3]);
    let module = |value: u8| {
        format!(
            "func.func public @main() -> tensor<3xf32> {{ %0 = stablehlo.constant dense<{value}.0> \
             : tensor<3xf32> return %0 : tensor<3xf32> }}"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    // Made when it is needed.
    let folder = folder.path().join("a/b");
    let cache = ExecutableCache::new(&folder, &client).unwrap();
    let run = |value: u8, options: &CompileOptions| {
        let signature = Signature { arguments: vec![], results: vec![ty.clone()] };
        let (program, origin) = cache.program(&client, module(value).as_bytes(), signature, options).unwrap();
        let results = program.run(vec![Vec::<Input<'_>>::new()]).unwrap().wait().unwrap();
        assert_eq!(results[0][0].fetch::<f32>().unwrap().wait().unwrap(), [f32::from(value); 3]);
        origin
    };
    let entries = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>();
    let default = CompileOptions::default();
    assert_eq!(run(1, &default), Origin::Compiled);
    assert_eq!(run(1, &default), Origin::Cached);
    assert_eq!(entries().len(), 1);

    let entry = entries().remove(0);
    let whole = fs::read(&entry).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() / 2], b"", b"something else"] {
        fs::write(&entry, damaged).unwrap();
        assert_eq!(run(1, &default), Origin::Compiled);
        assert_eq!(run(1, &default), Origin::Cached);
    }

    // Another module, other options.
    assert_eq!(run(2, &default), Origin::Compiled);
    let fast = default.clone().with_optimization(Optimization::O0);
    assert_eq!((run(2, &fast), run(2, &fast)), (Origin::Compiled, Origin::Cached));
    assert_eq!(entries().len(), 3);
}
