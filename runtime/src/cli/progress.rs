//! Progress bars, on stderr when that is a terminal, and the way Ctrl-C stops what they show: a
//! clip, a download.

use std::ops::ControlFlow;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tessera::{Download, Error, Observer, Preparation, Progress, amount};

use super::{Console, interrupt};

/// Parts of a frame that the bar can show.
const PARTS: f64 = 1000.0;

/// Shows how far a clip is; taken away when dropped.
pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// `doing` is what is done to the clip, such as `decoding`.
    fn new(console: Console, doing: &'static str) -> Bar {
        let bar = bar(console, "{prefix} {wide_bar} {msg}");
        bar.set_prefix(doing);
        bar.set_message("planning");
        bar.tick();
        Bar { bar }
    }
}

/// Does what `work` does under a bar, which says it is `doing` that. `interrupted` is what it comes
/// to on Ctrl-C, whatever it says itself.
pub(super) fn with_bar<T>(
    console: Console,
    doing: &'static str,
    interrupted: Error,
    work: impl FnOnce(&mut Bar) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut bar = Bar::new(console, doing);
    let done = work(&mut bar);
    drop(bar);
    if interrupt::asked() { Err(interrupted) } else { done }
}

fn bar(console: Console, template: &str) -> ProgressBar {
    let target = if console.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Shows how far the download of a model's files is; taken away when dropped.
pub(super) struct DownloadBar {
    bar: ProgressBar,
    /// The file that the bar shows, since when, and how much of it was there then.
    file: Option<(String, Instant, u64)>,
}

impl DownloadBar {
    pub(super) fn new(console: Console) -> DownloadBar {
        DownloadBar { bar: bar(console, "{prefix} {wide_bar} {msg}"), file: None }
    }

    /// Shows how far one file is; breaks on Ctrl-C.
    pub(super) fn show(&mut self, download: Download<'_>) -> ControlFlow<()> {
        if interrupt::asked() {
            return ControlFlow::Break(());
        }
        let Download { file, bytes_done, bytes_total, .. } = download;
        if self.file.as_ref().is_none_or(|(shown, ..)| shown != file) {
            self.file = Some((file.to_owned(), Instant::now(), bytes_done));
            self.bar.set_prefix(file.to_owned());
        }
        let mut message = format!("{} of {}", amount::bytes(bytes_done), amount::bytes(bytes_total));
        if let Some((_, since, before)) = &self.file
            && bytes_done > *before
        {
            let rate = (bytes_done - before) as f64 / since.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            let left = bytes_total.saturating_sub(bytes_done) as f64 / rate;
            message += &format!(", {} left", duration(left));
        }
        self.bar.set_length(bytes_total);
        self.bar.set_position(bytes_done);
        self.bar.set_message(message);
        ControlFlow::Continue(())
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows how many of some runs are done; taken away when dropped.
pub(super) struct RunBar {
    bar: ProgressBar,
    runs: usize,
    done: usize,
    /// Of the present run, as it was last told.
    share: f64,
}

impl RunBar {
    pub(super) fn new(console: Console, runs: usize) -> RunBar {
        let bar = bar(console, "timing {wide_bar} {msg}");
        bar.set_length((runs as f64 * PARTS) as u64);
        bar.set_message("compiling");
        bar.tick();
        RunBar { bar, runs, done: 0, share: 0.0 }
    }

    /// Shows the share of a run that is done; breaks on Ctrl-C. A share that is less than the last
    /// is of the next run.
    pub(super) fn show(&mut self, share: f64) -> ControlFlow<()> {
        if interrupt::asked() {
            return ControlFlow::Break(());
        }
        self.done += usize::from(share < self.share);
        self.share = share;
        self.bar.set_position(((self.done as f64 + share) * PARTS) as u64);
        self.bar.set_message(format!("run {} of {}", self.done + 1, self.runs));
        ControlFlow::Continue(())
    }
}

impl Drop for RunBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Bar {
    fn preparing(&mut self, preparation: Preparation) -> ControlFlow<()> {
        if interrupt::asked() {
            return ControlFlow::Break(());
        }
        self.bar.set_message(match preparation {
            Preparation::Compile => "compiling",
            Preparation::LoadWeights => "loading weights",
            Preparation::Wait => "waiting for memory",
            _ => "preparing",
        });
        ControlFlow::Continue(())
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if interrupt::asked() {
            return ControlFlow::Break(());
        }
        let Progress { frames_done, frames_total, tile, tiles, share, seconds_left, .. } = *progress;
        self.bar.set_length((frames_total as f64 * PARTS) as u64);
        self.bar.set_position((frames_total as f64 * share * PARTS) as u64);
        let left = seconds_left.map_or(String::new(), |seconds| format!(", {} left", duration(seconds)));
        let tile = if tiles > 1 { format!("tile {}/{tiles}, ", tile + 1) } else { String::new() };
        self.bar.set_message(format!("{tile}{frames_done}/{frames_total} frames{left}"));
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
