//! Compiled steps by their sizes: each is declared, compiled and given its weights when it first
//! comes, and reused from then on, by later calls too. Steps that do not need each other run at
//! once, each by a worker with a workspace of its own. Keeps the account of what that cost.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use frontend::{Autoencoder, Step, Taps};
use serde_json::{Value, json};

use crate::engine::{Engine, StepObserver, StepOutputs, Work};
use crate::error::{Error, Result};
use crate::inspection::Inspection;
use crate::non_finite::NonFiniteActivation;
use crate::observer::Preparation;
use crate::options::RunOptions;
use crate::step_place::StepPlace;

/// How long to wait between two looks at the observer while several steps run.
const TICK: Duration = Duration::from_millis(50);

/// What compiling and running steps has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Account {
    /// Declaring, passes and code generation.
    pub compile: Duration,
    /// Reading and packing weights.
    pub load: Duration,
    /// Inside compiled steps; those that ran at once count once.
    pub run: Duration,
    pub programs_compiled: usize,
    /// Programs that were read from disk instead.
    pub programs_cached: usize,
    /// Programs that an earlier call had made.
    pub programs_kept: usize,
    pub program_runs: usize,
    /// Of the program with the largest arena.
    pub arena_bytes: usize,
}

/// The steps of one model on one engine.
pub(crate) struct Steps<'a, E: Engine> {
    model: &'a dyn Autoencoder,
    options: &'a RunOptions,
    engine: E,
    /// One for each worker.
    workspaces: Vec<E::Workspace>,
    threads_of_each: usize,
    executables: HashMap<Step, Arc<E::Executable>>,
    account: Account,
}

impl<'a, E: Engine> Steps<'a, E> {
    /// No steps yet; `threads` are shared out among the workers, of which there is at least one.
    ///
    /// # Errors
    /// [`Error::Threads`].
    pub(crate) fn new(
        model: &'a dyn Autoencoder,
        options: &'a RunOptions,
        engine: E,
        threads: usize,
        workers: usize,
    ) -> Result<Self> {
        let threads_of_each = (threads / workers.max(1)).max(1);
        let workspace = |_| match engine.kept().take_workspace(threads_of_each) {
            Some(idle) => Ok(idle),
            None => engine.workspace(threads_of_each),
        };
        let workspaces = (0..workers.max(1)).map(workspace).collect::<Result<_>>()?;
        let (executables, account) = (HashMap::new(), Account::default());
        Ok(Self { model, options, engine, workspaces, threads_of_each, executables, account })
    }

    /// What it has cost so far.
    pub(crate) fn account(&self) -> Account {
        self.account
    }

    /// Makes those of `steps` ready that are not; `preparing` is told what comes.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `preparing` breaks; what declaring, compiling and binding report.
    pub(crate) fn prepare(
        &mut self,
        steps: &[Step],
        preparing: &mut dyn FnMut(Preparation) -> ControlFlow<()>,
    ) -> Result<()> {
        for step in steps {
            if !self.executables.contains_key(step) {
                let executable = self.find(step, preparing)?;
                self.account.arena_bytes = self.account.arena_bytes.max(E::arena_bytes(&executable));
                self.executables.insert(*step, executable);
            }
        }
        Ok(())
    }

    /// Runs steps that are ready, all at once: no more of them than there are workers. `observe` is
    /// told the share of all that is done.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `observe` breaks; else what the first step reports that fails,
    /// which stops the others.
    pub(crate) fn run(
        &mut self,
        mut work: Vec<Work<'_, E>>,
        observe: &mut StepObserver<'_>,
    ) -> Result<Vec<StepOutputs<E>>> {
        debug_assert!(work.len() <= self.workspaces.len(), "a worker runs one step at a time");
        let started = Instant::now();
        let runs = work.len();
        let outputs = match (work.pop(), work.is_empty()) {
            (Some(work), true) => {
                let executable = &self.executables[&work.step];
                vec![run_one(&self.engine, &mut self.workspaces[0], executable, work, self.options, observe)?]
            }
            (last, _) => {
                work.extend(last);
                run_at_once(&self.engine, &mut self.workspaces, &self.executables, work, self.options, observe)?
            }
        };
        self.account.run += started.elapsed();
        self.account.program_runs += runs;
        Ok(outputs)
    }

    /// The step as an earlier call left it, or made.
    fn find(
        &mut self,
        step: &Step,
        preparing: &mut dyn FnMut(Preparation) -> ControlFlow<()>,
    ) -> Result<Arc<E::Executable>> {
        let look_at_modules = self.options.inspection.check_finite && !E::LOOKS_INSIDE;
        let taps = if look_at_modules { &Taps::All } else { &self.options.taps };
        let key = self.engine.key(step, taps);
        if let Some(kept) = self.engine.kept().program(&key) {
            self.account.programs_kept += 1;
            return Ok(kept);
        }
        let made = self.make(step, taps, preparing)?;
        Ok(self.engine.kept().keep_program(key, made))
    }

    fn make(
        &mut self,
        step: &Step,
        taps: &Taps,
        preparing: &mut dyn FnMut(Preparation) -> ControlFlow<()>,
    ) -> Result<E::Executable> {
        let mut told = |preparation| match preparing(preparation) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Interrupted),
        };
        told(Preparation::Compile)?;
        let started = Instant::now();
        let program = self.engine.compile(self.model, step, taps)?;
        let compiled = Instant::now();
        let is_cached = E::is_cached(&program);
        if let Some(timeline) = &self.options.inspection.timeline {
            let name = if is_cached { "read" } else { "compile" };
            timeline.add("compile", format!("{name} {step}"), started, Value::Null);
        }
        told(Preparation::LoadWeights)?;
        let executable = self.engine.bind(&self.workspaces[0], step, program)?;
        self.account.compile += compiled - started;
        self.account.load += compiled.elapsed();
        match is_cached {
            true => self.account.programs_cached += 1,
            false => self.account.programs_compiled += 1,
        }
        if let Some(timeline) = &self.options.inspection.timeline {
            timeline.add("load", format!("weights of {step}"), compiled, Value::Null);
        }
        let how = if is_cached { "read from the cache" } else { "compiled" };
        log::info!("{step}: {how} in {:?}, weights in {:?}", compiled - started, compiled.elapsed());
        Ok(executable)
    }
}

impl<E: Engine> Drop for Steps<'_, E> {
    /// Leaves workspaces to later calls.
    fn drop(&mut self) {
        for workspace in self.workspaces.drain(..) {
            self.engine.kept().keep_workspace(self.threads_of_each, workspace);
        }
    }
}

/// Runs a step, notes when, and looks at what it gave if the engine does not by itself.
fn run_one<E: Engine>(
    engine: &E,
    workspace: &mut E::Workspace,
    executable: &E::Executable,
    work: Work<'_, E>,
    options: &RunOptions,
    observe: &mut StepObserver<'_>,
) -> Result<StepOutputs<E>> {
    let (step, place, input, started) = (work.step, work.place, work.input, Instant::now());
    let mut outputs = engine.run(workspace, executable, work, observe)?;
    let Inspection { check_finite, timeline } = &options.inspection;
    if let Some(timeline) = timeline {
        let StepPlace { sample, step: number, tile } = place;
        timeline.add("step", step.to_string(), started, json!({"sample": sample, "step": number, "tile": tile}));
    }
    if *check_finite && !E::LOOKS_INSIDE {
        let modules = outputs.taps.iter().map(|(module, ty, values)| (module.as_str(), ty, &**values));
        if let Some(found) = NonFiniteActivation::of_modules(input, modules, step, place) {
            return Err(Error::NonFiniteActivation(Box::new(found)));
        }
        outputs.taps.retain(|(module, ..)| match &options.taps {
            Taps::None => false,
            Taps::All => true,
            Taps::Named(names) => names.contains(module),
        });
    }
    Ok(outputs)
}

/// Runs each step by a worker, on a thread of its own; this thread watches.
fn run_at_once<E: Engine>(
    engine: &E,
    workspaces: &mut [E::Workspace],
    executables: &HashMap<Step, Arc<E::Executable>>,
    work: Vec<Work<'_, E>>,
    options: &RunOptions,
    observe: &mut StepObserver<'_>,
) -> Result<Vec<StepOutputs<E>>> {
    let size = |step: &Step| (step.frames * step.height * step.width) as f64;
    let sizes: Vec<f64> = work.iter().map(|work| size(&work.step)).collect();
    let all: f64 = sizes.iter().sum();
    // Of each step the share that is done, as the bits of an f64.
    let shares: Vec<AtomicU64> = work.iter().map(|_| AtomicU64::new(0)).collect();
    let done = || {
        let shares = shares.iter().map(|share| f64::from_bits(share.load(Ordering::Relaxed)));
        shares.zip(&sizes).map(|(share, size)| share * size).sum::<f64>() / all
    };
    if observe(0.0).is_break() {
        return Err(Error::Interrupted);
    }
    let (stopped, mut interrupted) = (&AtomicBool::new(false), false);
    let (running, ended) = channel::<()>();
    let outputs: Vec<Result<StepOutputs<E>>> = thread::scope(|scope| {
        let workers = work.into_iter().zip(workspaces).zip(&shares).map(|((work, workspace), share)| {
            let running = running.clone();
            scope.spawn(move || {
                // Dropped at the end, also of a worker that panics.
                let _running = running;
                let mut observe = |done: f64| {
                    share.store(done.to_bits(), Ordering::Relaxed);
                    if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                let outputs = run_one(engine, workspace, &executables[&work.step], work, options, &mut observe);
                match outputs {
                    Ok(_) => share.store(1.0_f64.to_bits(), Ordering::Relaxed),
                    Err(_) => stopped.store(true, Ordering::Relaxed),
                }
                outputs
            })
        });
        let workers: Vec<_> = workers.collect();
        drop(running);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
            if !interrupted && observe(done()).is_break() {
                interrupted = true;
                stopped.store(true, Ordering::Relaxed);
            }
        }
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))).collect()
    });
    if interrupted {
        return Err(Error::Interrupted);
    }
    let (outputs, failures): (Vec<_>, Vec<_>) = outputs.into_iter().partition(Result::is_ok);
    // Workers that were stopped because another failed say that they were interrupted.
    let failures = failures.into_iter().filter_map(Result::err);
    match failures.min_by_key(|error| matches!(error, Error::Interrupted)) {
        Some(error) => Err(error),
        None => outputs.into_iter().collect(),
    }
}
