//! How to run a model.

use std::num::NonZero;
use std::thread;

use backend_cpu::isa::Isa;
use frontend::Taps;

use crate::error::{Error, Result};

/// The most threads that can be asked for.
pub const MOST_THREADS: usize = 1024;

/// What runs the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Native code.
    #[default]
    Cpu,
    /// The evaluator, op by op: the definition of every op, hundreds of times slower.
    Interpret,
}

/// How to decode or encode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// What runs the steps.
    pub backend: Backend,
    /// From 1 to [`MOST_THREADS`]; by default as many as the system offers. Results do not depend on it.
    pub threads: Option<usize>,
    /// For [`Backend::Cpu`]; by default what [`backend_cpu::isa::ISA_VARIABLE`] asks for, or the best this CPU has.
    pub isa: Option<Isa>,
    /// Which activations to lay open: [`crate::Observer::tap`] gets them.
    pub taps: Taps,
}

impl RunOptions {
    /// The number of threads asked for, or the default.
    pub(crate) fn threads(&self) -> Result<usize> {
        let threads =
            self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS));
        if (1..=MOST_THREADS).contains(&threads) {
            return Ok(threads);
        }
        Err(Error::Threads { threads, problem: format!("expected 1 to {MOST_THREADS}") })
    }

    /// The instruction set asked for, or the default.
    pub(crate) fn isa(&self) -> Result<Isa> {
        self.isa.map_or_else(|| Ok(Isa::from_env_or_probe()?), Ok)
    }
}
