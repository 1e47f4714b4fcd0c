//! `tessera knobs`: the environment variables that are read, and what they are set to.

use clap::Args;
use ir::knobs::{self, Knob, Origin};

use super::{Failure, print};

/// What is shown in place of a secret.
const SECRET: &str = "(set)";

/// List the environment variables that are read, with their values
#[derive(Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<(), Failure> {
    let of = |origin: Origin| {
        let knobs = knobs::ALL.iter().filter(move |knob| knob.origin == origin);
        knobs.map(line).collect::<String>()
    };
    let libraries = knobs::FOR_LIBRARIES.iter().map(|(names, who)| format!("  {names}... : {who}\n"));
    print(&format!(
        "{}\nOthers' conventions that are followed:\n\n{}\nFor whoever changes the program, read by its tests:\n\n{}\n\
         For whoever searches libraries for faults, by how the names begin:\n\n{}\nPrograms that are started (ffmpeg, \
         ffprobe, Python, pip, plugins) get the whole environment and read more of it.\n",
        of(Origin::Tessera),
        of(Origin::Convention),
        of(Origin::Tests),
        libraries.collect::<String>()
    ))
}

fn line(knob: &Knob) -> String {
    let value = match knob.get() {
        None => "not set".to_owned(),
        Some(_) if knob.is_secret() => SECRET.to_owned(),
        Some(value) => value.to_string_lossy().into_owned(),
    };
    format!("  {}={} [{value}]\n      {}\n", knob.name, knob.takes, knob.doc)
}
