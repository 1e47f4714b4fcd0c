//! Differential tests: random programs, and steps of random VAE configurations, computed in every
//! way there is and compared with the evaluator on the program as it was declared: behind the
//! passes, behind the passes without one of them, in native code for each instruction set with each
//! algorithm, in f32 and bf16, and on the PJRT plugin that `TESSERA_PJRT_PLUGIN` names.
//!
//! A few dozen cases each, the same every time. `PROPTEST_CASES=10000` runs more,
//! `PROPTEST_RNG_SEED=7` others. What fails shrinks, first as a case, then as a program, and is
//! written as a filetest; see `fail`. While a program runs in code that may end the process, it
//! stands in a file as well.

// How packages run a program in their own tests.
#[path = "../../../backend-cpu/tests/common/mod.rs"]
#[allow(dead_code, reason = "a module of another package's tests")]
mod native;
#[path = "../../../backend-tpu-stablehlo/tests/common/mod.rs"]
mod plugin;
mod ways;

use std::cell::Cell;
use std::fmt::Debug;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use backend_tpu_stablehlo::pjrt::Client;
use ir::Graph;
use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, RngSeed, TestCaseError, TestError, TestRunner};
use tests::random_graph::graphs;
use tests::random_vae::steps;
use tests::reduce::{reduce, write_filetest};
use ways::{Declared, Way, plugin_ways, ways};

/// Where the filetests are that random programs have led to.
fn regressions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../passes/tests/filetests/regressions")
}

/// Where programs go that fail.
fn failures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential")
}

/// Computes a program one way; a panic is an error.
fn check(declared: &Declared<'_>, way: &Way, client: Option<&Client>) -> Result<bool, String> {
    catch_unwind(AssertUnwindSafe(|| declared.check(way, client))).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default().lines().next().unwrap_or_default()))
    })
}

/// The first way in which a program comes out differently, and how; else the number of ways that
/// were compared.
fn first_difference(graph: &Graph, seed: u64, ways: &[Way], client: Option<&Client>) -> Result<usize, (Way, String)> {
    let declared = Declared::new(graph, seed);
    let mut compared = 0;
    for way in ways {
        compared += usize::from(check(&declared, way, client).map_err(|message| (*way, message))?);
    }
    Ok(compared)
}

/// Makes a program small that fails, writes it as a filetest and fails.
fn fail(name: &str, case: &str, graph: &Graph, seed: u64, way: Way, client: Option<&Client>) -> ! {
    let small = reduce(graph, &mut |graph| check(&Declared::new(graph, seed), &way, client).is_err());
    let message = check(&Declared::new(&small, seed), &way, client).err().unwrap_or_default();
    let path = write_filetest(&failures(), name, &small, &format!("{way}, seed {seed}:\n{message}"));
    panic!(
        "{way}, seed {seed}: {message}\n{}\nThis program is in {}; moved to {} it is a filetest, which runs in every \
         way.{case}",
        ir::text::print(&small),
        path.display(),
        regressions().display()
    );
}

/// Runs `cases` cases, or as many as `PROPTEST_CASES` says.
fn run<T: Debug + Clone>(
    name: &str,
    cases: u32,
    strategy: impl Strategy<Value = T>,
    graph: impl Fn(&T) -> Graph,
    ways: impl Fn(&Graph, u64) -> Vec<Way>,
    client: Option<&Client>,
) {
    let defaults = ProptestConfig::default();
    let config = ProptestConfig {
        cases: if ir::knobs::PROPTEST_CASES.get().is_some() { defaults.cases } else { cases },
        rng_seed: if defaults.rng_seed == RngSeed::Random { RngSeed::Fixed(0) } else { defaults.rng_seed },
        failure_persistence: None,
        max_shrink_time: 20_000,
        ..defaults
    };
    let (wanted, ran, compared) = (config.cases, Cell::new(0), Cell::new(0_usize));
    let running = format!("{name}-running");
    let result = TestRunner::new(config).run(&(strategy, any::<u64>()), |(case, seed)| {
        let graph = graph(&case);
        write_filetest(&failures(), &running, &graph, &format!("the process ended, seed {seed}"));
        let ways = ways(&graph, seed);
        match first_difference(&graph, seed, &ways, client) {
            Ok(count) => {
                ran.set(ran.get() + u32::from(count > 0));
                compared.set(compared.get() + count);
                Ok(())
            }
            Err((way, message)) => Err(TestCaseError::fail(format!("{way}: {message}"))),
        }
    });
    // It is over, and the process is there. Another one may have taken the file away.
    fs::remove_file(failures().join(running + ".ir")).ok();
    match result {
        Ok(()) => {
            println!("{name}: {} cases, {} comparisons", ran.get(), compared.get());
            assert!(2 * ran.get() > wanted, "{name}: only {} of {wanted} have numbers that f32 holds", ran.get());
        }
        Err(TestError::Fail(_, (case, seed))) => {
            let graph = graph(&case);
            let ways = ways(&graph, seed);
            match first_difference(&graph, seed, &ways, client) {
                Err((way, _)) => {
                    // Of a program the small one is enough.
                    let case = Some(format!("{case:?}")).filter(|case| !case.contains('\n'));
                    let case = case.map_or_else(String::new, |case| format!(" It is a part of {case}"));
                    fail(name, &case, &graph, seed, way, client)
                }
                Ok(_) => panic!("{name}: {case:?}, seed {seed}, failed once and then did not"),
            }
        }
        Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
    }
}

#[test]
fn random_programs() {
    run("random-programs", 48, graphs(12, false), |case| case.0.clone(), |graph, seed| ways(graph, seed, false), None);
}

#[test]
fn random_programs_partly_in_bf16() {
    let name = "random-programs-partly-in-bf16";
    run(name, 32, graphs(12, true), |case| case.0.clone(), |graph, seed| ways(graph, seed, false), None);
}

#[test]
fn steps_of_random_models() {
    run("steps-of-random-models", 12, steps(), |case| case.graph(), |graph, seed| ways(graph, seed, false), None);
}

#[test]
fn random_programs_on_the_plugin() {
    let Some(client) = plugin::client("random_programs_on_the_plugin", 1) else { return };
    let client = Some(&client);
    run("random-programs-on-the-plugin", 12, graphs(12, false), |case| case.0.clone(), |_, _| plugin_ways(), client);
    run("steps-on-the-plugin", 2, steps(), |case| case.graph(), |_, _| plugin_ways(), client);
}

/// What random programs have led to before.
#[test]
fn regressions_run_in_every_way() {
    let client = plugin::client("regressions_run_in_every_way", 1);
    // There is no folder while there is no regression.
    let entries = fs::read_dir(regressions()).into_iter().flatten();
    for path in entries.map(|entry| entry.expect("a file").path()) {
        let text = fs::read_to_string(&path).expect("a text");
        let graph = ir::text::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for seed in 0..4 {
            let mut ways = ways(&graph, seed, true);
            ways.extend(client.iter().flat_map(|_| plugin_ways()));
            if let Err((way, message)) = first_difference(&graph, seed, &ways, client.as_ref()) {
                panic!("{}: {way}, seed {seed}: {message}", path.display());
            }
        }
    }
}
