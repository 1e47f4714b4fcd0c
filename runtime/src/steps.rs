//! Compiled steps by their sizes: each is declared, compiled and given its weights when it first comes, and reused from
//! then on. Keeps the account of what that cost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use frontend::{Config, Step, Taps, declare};

use crate::engine::{Engine, StepObserver, StepOutputs};
use crate::error::Result;

/// What compiling and running steps has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Account {
    /// Declaring, passes and code generation.
    pub compile: Duration,
    /// Reading and packing weights.
    pub load: Duration,
    /// Inside compiled steps.
    pub run: Duration,
    pub programs_compiled: usize,
    /// Programs that were read from disk instead.
    pub programs_cached: usize,
    pub program_runs: usize,
    /// Of the program with the largest arena.
    pub arena_bytes: usize,
}

/// The steps of one model on one engine.
pub(crate) struct Steps<'a, E: Engine> {
    config: &'a Config,
    taps: &'a Taps,
    engine: E,
    executables: HashMap<Step, E::Executable>,
    account: Account,
}

impl<'a, E: Engine> Steps<'a, E> {
    /// No steps yet.
    pub(crate) fn new(config: &'a Config, taps: &'a Taps, engine: E) -> Self {
        Self { config, taps, engine, executables: HashMap::new(), account: Account::default() }
    }

    /// What it has cost so far.
    pub(crate) fn account(&self) -> Account {
        self.account
    }

    /// Makes `step` ready, if it is not, and runs it.
    pub(crate) fn run(
        &mut self,
        step: &Step,
        input: &[f32],
        states: E::States,
        observe: &mut StepObserver<'_>,
    ) -> Result<StepOutputs<E>> {
        if !self.executables.contains_key(step) {
            let executable = self.prepare(step)?;
            self.executables.insert(*step, executable);
        }
        let started = Instant::now();
        let outputs = self.engine.run(step, &self.executables[step], input, states, observe)?;
        self.account.run += started.elapsed();
        self.account.program_runs += 1;
        Ok(outputs)
    }

    fn prepare(&mut self, step: &Step) -> Result<E::Executable> {
        let started = Instant::now();
        let program = self.engine.compile(step, declare(self.config, step, self.taps)?)?;
        let compiled = Instant::now();
        let is_cached = E::is_cached(&program);
        let executable = self.engine.bind(step, program)?;
        self.account.compile += compiled - started;
        self.account.load += compiled.elapsed();
        match is_cached {
            true => self.account.programs_cached += 1,
            false => self.account.programs_compiled += 1,
        }
        self.account.arena_bytes = self.account.arena_bytes.max(E::arena_bytes(&executable));
        log::debug!("{step}: compiled in {:?}, weights in {:?}", compiled - started, compiled.elapsed());
        Ok(executable)
    }
}
