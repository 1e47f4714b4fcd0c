//! The progress bar of a clip, on stderr when that is a terminal, and the way Ctrl-C stops the clip.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use runtime::{Observer, Progress};

use super::interrupt;

/// Parts of a frame that the bar can show.
const PARTS: f64 = 1000.0;

/// Shows how far a clip is; taken away when dropped.
pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(super) fn new() -> Bar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{wide_bar} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message("compiling");
        bar.tick();
        Bar { bar }
    }
}

impl Observer for Bar {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if interrupt::asked() {
            return ControlFlow::Break(());
        }
        let Progress { frames_done, frames_total, share, seconds_left, .. } = *progress;
        self.bar.set_length((frames_total as f64 * PARTS) as u64);
        self.bar.set_position((frames_total as f64 * share * PARTS) as u64);
        let left = seconds_left.map_or(String::new(), |seconds| format!(", {} left", duration(seconds)));
        self.bar.set_message(format!("{frames_done}/{frames_total} frames{left}"));
        ControlFlow::Continue(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `9 s`, `3 min 20 s`, `2 h 5 min`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_read_at_a_glance() {
        for (seconds, text) in [(0.0, "0 s"), (8.2, "9 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
