//! Ctrl-C, a request to terminate and a terminal that hangs up, as a flag that is looked at between
//! kernels.
//!
//! What was ignored when the process started stays ignored: `nohup` ignores the terminal's hanging
//! up, and a shell without job control ignores Ctrl-C for what it runs in the background.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

#[cfg(unix)]
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// What a shell adds to a signal's number for the exit code of what it ended.
const SIGNAL_CODE: u8 = 128;

/// The last signal that came, or 0.
static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on these signals set the flag instead of ending the process.
pub(super) fn listen() {
    let came = CAME.get_or_init(Arc::default);
    for signal in SIGNALS.into_iter().filter(|signal| !is_ignored(*signal)) {
        if let Err(error) = signal_hook::flag::register_usize(signal, came.clone(), signal as usize) {
            log::warn!("signal {signal} will end the process at once: {error}");
        }
    }
}

/// Whether one of them came.
pub(super) fn asked() -> bool {
    signal() != 0
}

/// The exit code by which a shell knows what the last one was: 130 for Ctrl-C, 143 for a request to
/// terminate.
pub(super) fn exit_code() -> u8 {
    SIGNAL_CODE + u8::try_from(signal()).unwrap_or_default()
}

fn signal() -> usize {
    CAME.get().map_or(0, |came| came.load(Ordering::Relaxed))
}

/// Whether the process ignores this signal. Linux tells in a file; where there is none it is taken
/// not to.
fn is_ignored(signal: i32) -> bool {
    // Asking the system itself takes unsafe code on every Unix, and this crate has none for it.
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

/// Whether the mask `SigIgn` of a process, hexadecimal, has this signal: the first bit is signal 1.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status =
            "Name:\ttessera\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_eq!([1, 2, 13, 15].map(|signal| ignores(status, signal)), [true, false, true, false]);
        assert!(!ignores("Name:\ttessera\n", 1) && !ignores("SigIgn:\tnonsense\n", 1));
    }
}
