//! The commands, and how they end: exit codes, the one error line, printing.

mod arguments;
mod bench;
mod compile;
mod completions;
mod decode;
mod emit;
mod encode;
mod info;
mod interrupt;
mod plugin;
mod progress;
mod report;
mod roundtrip;
mod table;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use runtime::Error;

/// What ends the help of every command.
const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    bad input or a failure, told in one line on stderr; no output file is left
  2    wrong usage
  130  interrupted (Ctrl-C); no output file is left

Environment:
  TESSERA_ISA     the instruction set of compiled code: avx512, avx2 or portable; by default the best this CPU has
  TESSERA_PJRT_PLUGIN
                  the PJRT plugin where --plugin names none: cpu, tpu, cuda or a path
  TESSERA_CACHE_DIR
                  where compiled programs of PJRT plugins are kept, in place of your folder of caches
  XLA_FLAGS       flags for the compilers of PJRT plugins, as those know them
  TMPDIR          where tiles wait on disk for others, where that saves memory
  RUST_LOG        what to log on stderr, in place of --verbose
  HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE
                  for models from the hub, as Python's hub client has them";

/// Wrong usage, as a shell knows it.
const USAGE_CODE: u8 = 2;
/// Ended by Ctrl-C, as a shell knows it.
const INTERRUPTED_CODE: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  tessera decode
      the demo that is part of the program, to demo.mp4
  tessera encode --model CogVideoX-2b --video clip.mp4 --size 480x720 --output latents.safetensors
  tessera decode --model CogVideoX-2b --latents latents.safetensors --output decoded.mp4
  tessera roundtrip --model CogVideoX-2b --video clip.mp4 --size 480x720 --output compared.mp4
      both, with what is lost on the way";

/// A tensor compiler for the CogVideoX video VAE: video to latents and latents to video on the CPU, and a look at what is
/// compiled.
#[derive(Parser)]
#[command(name = "tessera", version, propagate_version = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Arguments {
    /// Say on stderr what passes and backend do.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Say nothing but errors, and what --json, bench, emit and info print.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Decode(decode::Arguments),
    Encode(encode::Arguments),
    Roundtrip(roundtrip::Arguments),
    Bench(bench::Arguments),
    Emit(emit::Arguments),
    Info(info::Arguments),
    Compile(compile::Arguments),
    Plugin(plugin::Arguments),
    Completions(completions::Arguments),
    #[command(name = plugin::CHILD_COMMAND, hide = true)]
    PluginChild(plugin::ChildArguments),
}

/// How talkative a command is.
#[derive(Debug, Clone, Copy)]
struct Manner {
    quiet: bool,
}

impl Manner {
    /// A line to stderr about something that is no error.
    fn note(self, line: &str) {
        if !self.quiet {
            note(line);
        }
    }

    /// Prints a summary to stdout.
    fn say(self, text: &str) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { print(text) }
    }
}

/// Why a command ended early.
enum Failure {
    /// Arguments that contradict each other, of this command.
    Usage { command: &'static str, message: String },
    /// What the library says.
    Library(Error),
    /// Standard output cannot be written to.
    Stdout(io::Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Library(error.into())
    }
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(arguments.verbose);
    let manner = Manner { quiet: arguments.quiet };
    let end = match &arguments.command {
        Command::Decode(arguments) => decode::run(arguments, manner),
        Command::Encode(arguments) => encode::run(arguments, manner),
        Command::Roundtrip(arguments) => roundtrip::run(arguments, manner),
        Command::Bench(arguments) => bench::run(arguments, manner),
        Command::Emit(arguments) => emit::run(arguments, manner),
        Command::Info(arguments) => info::run(arguments, manner),
        Command::Compile(arguments) => compile::run(arguments, manner),
        Command::Plugin(arguments) => plugin::run(arguments, manner),
        Command::Completions(arguments) => completions::run(arguments),
        Command::PluginChild(arguments) => plugin::run_child(arguments),
    };
    let Err(failure) = end else { return ExitCode::SUCCESS };
    match failure {
        Failure::Usage { command, message } => {
            let mut tessera = Arguments::command();
            tessera.build();
            let command = tessera.find_subcommand_mut(command).expect("a command names itself");
            // What clap would print for arguments that it refuses itself; stderr that is closed is no news.
            let _ = command.error(clap::error::ErrorKind::ArgumentConflict, message).print();
            ExitCode::from(USAGE_CODE)
        }
        Failure::Library(Error::Interrupted) => {
            note("error: interrupted; nothing was written");
            ExitCode::from(INTERRUPTED_CODE)
        }
        Failure::Library(error) => {
            note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
        Failure::Stdout(error) => {
            note(&format!("error: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Our own crates at `debug` with `--verbose`, else warnings; `RUST_LOG` overrides both.
fn start_log(verbose: bool) {
    const VERBOSE: &str =
        "warn,tessera=debug,runtime=debug,frontend=debug,passes=debug,backend_cpu=debug,backend_tpu_stablehlo=debug";
    let filter = env_logger::Env::default().default_filter_or(if verbose { VERBOSE } else { "warn" });
    env_logger::Builder::from_env(filter).init();
}

/// Prints to stdout. A reader that has gone away, such as `head`, is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Stdout(error)),
        _ => Ok(()),
    }
}

/// Prints a line to stderr, if anyone listens.
fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
