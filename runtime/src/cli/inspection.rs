//! Arguments for looking into a run: whether values are numbers, and a timeline.

use std::path::PathBuf;

use clap::Args;
use tessera::timeline::{Timeline, TimelineFile};
use tessera::{Error, Inspection};

use super::run_files::RunFiles;

#[derive(Args)]
#[command(next_help_heading = "Debugging")]
pub(super) struct InspectionArguments {
    /// Look at every value that is computed, and stop at the first NaN or infinity: says which op,
    /// module, step and tile made it, and between what its inputs lie. Takes about as long
    /// again
    #[arg(long)]
    check_finite: bool,
    /// Write when what was compiled, and which thread worked on which kernel: a timeline that
    /// Perfetto (ui.perfetto.dev) opens; a file that is there is replaced
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

/// A timeline that is to be written when the run is over.
pub(super) struct Trace(Option<(TimelineFile, Timeline)>);

impl InspectionArguments {
    /// What to look at, and where the timeline goes.
    pub(super) fn open(&self, files: &mut RunFiles) -> Result<(Inspection, Trace), Error> {
        self.trace.iter().try_for_each(|path| files.writes("the timeline", path))?;
        let file = self.trace.as_deref().map(TimelineFile::create).transpose()?;
        let trace = file.map(|file| (file, Timeline::default()));
        let timeline = trace.as_ref().map(|(_, timeline)| timeline.clone());
        let inspection = Inspection::default().with_check_finite(self.check_finite).with_timeline(timeline);
        Ok((inspection, Trace(trace)))
    }
}

impl Trace {
    /// Writes it, if one was asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), |(file, timeline)| file.finish(&timeline).map(drop))
    }
}
