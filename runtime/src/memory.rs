//! How much memory there is, and whether a program can fit: asked before it runs, so that a clip which is too large is an
//! error and not a process that the system kills.

use std::fs;

use backend_cpu::program::{Port, Program};
use frontend::Step;

use crate::error::{Error, Result};

/// Refuses a program whose intermediate values, inputs, outputs and states are together more than all the memory of this
/// machine (and of this process's control group), whatever else runs. Weights are not counted: they do not depend on
/// the size of the clip.
///
/// # Errors
/// [`Error::Memory`] with both numbers. Where the system does not tell its memory, nothing is refused.
pub(crate) fn check_fits(step: &Step, program: &Program) -> Result<()> {
    let bytes = |port: &Port| port.ty.bytes();
    let states: usize = program.states().map(bytes).fold(0, usize::saturating_add);
    let ports = program.inputs().chain(program.results()).chain(program.taps()).map(bytes);
    // A next step reads states while it writes those of the step after it; both sets are alike.
    let needed = ports.fold(program.arena_bytes().saturating_add(states.saturating_mul(2)), usize::saturating_add);
    refuse_beyond(limit_bytes(), needed as u64, step)
}

fn refuse_beyond(limit: Option<u64>, needed: u64, step: &Step) -> Result<()> {
    match limit {
        Some(limit) if needed > limit => Err(Error::memory(
            step,
            &format!("it needs {:.1} GiB, this machine has {:.1} GiB", gib(needed), gib(limit)),
        )),
        _ => Ok(()),
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

/// The most memory this process can have: the machine's with its swap, or what its control group is allowed, whichever
/// is less; `None` where Linux's files for it are not there.
fn limit_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().map(|text| {
        ["MemTotal:", "SwapTotal:"]
            .iter()
            .filter_map(|field| kibibytes(&text, field))
            .map(|k| k.saturating_mul(1024))
            .sum()
    });
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// The most memory this process has held so far, in bytes; `None` where the system does not tell.
pub fn peak_resident_bytes() -> Option<u64> {
    Some(kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")? * 1024)
}

/// The number behind `field` in the text of a file such as `/proc/meminfo`.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use frontend::StepKind;

    use super::*;

    #[test]
    fn fields_are_read() {
        let text = "VmPeak:\t  9 kB\nVmHWM:\t    2500 kB\nThreads: 3\n";
        assert_eq!(kibibytes(text, "VmHWM:"), Some(2500));
        assert_eq!(kibibytes(text, "Threads:"), None);
        assert_eq!(kibibytes(text, "VmSwap:"), None);
    }

    #[test]
    fn a_step_that_cannot_fit_is_refused() {
        let step = Step { kind: StepKind::DecodeNext, batch: 1, frames: 2, height: 60, width: 90 };
        assert!(refuse_beyond(Some(3 << 30), 3 << 30, &step).is_ok());
        assert!(refuse_beyond(None, u64::MAX, &step).is_ok());
        let message = refuse_beyond(Some(3 << 30), 13 << 29, &step).unwrap_err().to_string();
        let expected = "decode-next of 1x2x60x90: not enough memory: it needs 6.5 GiB, this machine has 3.0 GiB";
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_fits_its_limit() {
        assert!(peak_resident_bytes() < limit_bytes());
        assert!(peak_resident_bytes().is_some());
    }
}
