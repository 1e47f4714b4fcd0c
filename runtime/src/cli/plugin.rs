//! `tessera plugin`: which PJRT plugins there are, and getting one. Also the hidden command that a
//! child process is started with, in which plugins are looked at and compile ahead of time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backend_tpu_stablehlo::pjrt::child::{self, ChildError, PluginDescription, Reexecution};
use backend_tpu_stablehlo::pjrt::locate::{self, PLUGIN_VARIABLE, PluginName, PluginSpec};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use tessera::Error;

use super::table::table;
use super::{Console, EXIT_CODES, Failure, print};

/// The hidden command.
pub(super) const CHILD_COMMAND: &str = "pjrt-child";

/// How long a plugin may take to say what it is: libtpu looks for TPUs first.
const PATIENCE: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  tessera plugin list
      the plugins that `--plugin cpu`, `--plugin tpu` and `--plugin cuda` find
  tessera plugin install cpu
      XLA's compiler for CPUs
  tessera plugin install tpu
      libtpu, to run on TPUs, and to compile for them where there is none";

/// List PJRT plugins, or install one
///
/// A plugin is a shared library that compiles StableHLO for a kind of device and runs it there.
/// Tessera brings none along: it finds those of installed Python packages, and installs some from
/// the Python package index with your pip.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show each plugin that is found: its path, its versions, its devices
    List {
        /// Only this plugin, by its name or path; it is loaded, which runs its code
        #[arg(value_name = "PLUGIN")]
        plugin: Option<PathBuf>,
    },
    /// Fetch a plugin with pip into Tessera's data folder
    Install {
        #[arg(value_enum)]
        plugin: Installable,
    },
}

/// Plugins that are installed from here.
#[derive(Clone, Copy, ValueEnum)]
enum Installable {
    Cpu,
    Tpu,
}

/// The arguments of the hidden command.
#[derive(Args)]
pub(super) struct ChildArguments {
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    match &arguments.action {
        Action::List { plugin: Some(plugin) } => {
            print(&describe(&plugin.to_string_lossy(), &PluginSpec::from(plugin.as_os_str()).locate()?)?)
        }
        Action::List { plugin: None } => list(),
        Action::Install { plugin } => {
            let name = match plugin {
                Installable::Cpu => PluginName::Cpu,
                Installable::Tpu => PluginName::Tpu,
            };
            if let Some(notice) = name.notice() {
                console.note(&format!("note: {notice}"));
            }
            // By pip with the user's own settings: `--isolated` would lose the index and the proxy.
            let library = locate::install(name)?;
            console.say(&format!("installed {}\n", library.display()))
        }
    }
}

/// Runs the hidden command.
pub(super) fn run_child(arguments: &ChildArguments) -> Result<(), Failure> {
    child::serve(&arguments.folder).map_err(|cause| Failure::Library(ChildError::System(cause).into()))
}

/// How to start this program as a child.
pub(super) fn reexecution() -> Result<Reexecution, Error> {
    let program = std::env::current_exe().map_err(ChildError::System)?;
    Ok(Reexecution { program, arguments: vec![CHILD_COMMAND.into()] })
}

/// Takes a plugin as it is written on the command line.
pub(super) fn parser() -> impl TypedValueParser<Value = PluginSpec> {
    OsStringValueParser::new().map(|written| PluginSpec::from(written.as_os_str()))
}

fn list() -> Result<(), Failure> {
    let mut text = String::new();
    if let Ok(PluginSpec::Path(path)) = PluginSpec::from_env() {
        text += &or_why(PLUGIN_VARIABLE, &path);
    }
    for name in PluginName::ALL {
        match PluginSpec::Name(name).locate() {
            Ok(path) => text += &or_why(name.name(), &path),
            Err(error) => text += &format!("{}: {error}\n", name.name()),
        }
    }
    print(&text)
}

/// A plugin's description, or why there is none: in a list, one that is of no use hides no others.
fn or_why(name: &str, path: &Path) -> String {
    describe(name, path).unwrap_or_else(|error| format!("{name}: {error}\n"))
}

/// What a plugin says about itself, in a child process.
pub(super) fn look_at(path: &Path) -> Result<PluginDescription, Error> {
    Ok(reexecution()?.describe(path, PATIENCE)?)
}

fn describe(name: &str, path: &Path) -> Result<String, Error> {
    let PluginDescription { api_version, attributes, devices } = look_at(path)?;
    let row = |name: &str, value: String| [name.to_owned(), value];
    let attribute = |name: &str| {
        attributes.iter().find(|(found, _)| found == name).map_or("unknown".to_owned(), |(_, value)| value.clone())
    };
    let mut rows = vec![
        row("path", path.display().to_string()),
        row("PJRT API", format!("{}.{}", api_version.0, api_version.1)),
        row(
            "StableHLO",
            format!(
                "{}, reads {} and newer",
                attribute("stablehlo_current_version"),
                attribute("stablehlo_minimum_version")
            ),
        ),
    ];
    match devices {
        Ok((platform, version, kinds)) => {
            rows.push(row("platform", format!("{platform} ({})", version.lines().next().unwrap_or_default())));
            rows.push(row("devices", format!("{}: {}", kinds.len(), kinds.join(", "))));
        }
        Err(problem) => rows.push(row("devices", format!("none here: {}", problem.lines().next().unwrap_or_default()))),
    }
    Ok(format!("{name}\n{}", table(&rows, &[])))
}
