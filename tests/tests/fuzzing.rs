//! Every fuzz target over its seeds and over mutations of them, the same ones in every run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use tests::evaluation::Random;
use tests::fuzzing::mutation::mutated;
use tests::fuzzing::{TARGETS, Target};

/// Mutations of all seeds of a target together.
const MUTATIONS: usize = 3000;

/// Runs a target; should it panic, the bytes are told.
fn run(target: &Target, what: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
        eprintln!("{}: {what}, {} bytes: {}", target.name, bytes.len(), bytes.escape_ascii());
        resume_unwind(panic);
    }
}

#[track_caller]
fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let (seeds, start) = (target.seeds(), Instant::now());
    for (path, bytes) in &seeds {
        run(target, &path.display().to_string(), bytes);
    }
    let mut random = Random(1);
    for number in 0..MUTATIONS {
        let (path, seed) = &seeds[number % seeds.len()];
        let (_, other) = &seeds[random.below(seeds.len())];
        let bytes = mutated(seed, other, &mut random);
        run(target, &format!("mutation {number}, of {}", path.display()), &bytes);
    }
    println!("{name}: {} seeds and {MUTATIONS} mutations in {:?}", seeds.len(), start.elapsed());
}

#[test]
fn config_json() {
    replay("config_json");
}

#[test]
fn executable_cache() {
    replay("executable_cache");
}

#[test]
fn ir_text() {
    replay("ir_text");
}

#[test]
fn latents() {
    replay("latents");
}

#[test]
fn media() {
    replay("media");
}

#[test]
fn tensor_file() {
    replay("tensor_file");
}

#[test]
fn every_target_is_one_of_the_fuzz_crate() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let names: Vec<_> = manifest.lines().filter_map(|line| line.strip_prefix("name = ")).skip(1).collect();
    let mut expected: Vec<_> = TARGETS.iter().map(|target| format!("{:?}", target.name)).collect();
    expected.sort();
    let mut found = names.clone();
    found.sort_unstable();
    assert_eq!(found, expected);
}
