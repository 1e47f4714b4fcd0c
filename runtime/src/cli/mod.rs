//! The commands, and how they end: exit codes, the one error line, printing.

mod advice;
mod arguments;
mod bench;
mod compile;
mod completions;
mod conditions;
mod decode;
mod emit;
mod encode;
mod info;
mod input;
mod inspection;
mod interrupt;
mod knobs;
mod latents;
mod plugin;
mod progress;
mod report;
mod returned;
mod roundtrip;
mod run_files;
mod stream_paths;
mod streams;
mod table;
mod taps;
mod verify;

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tessera::Error;

/// What ends the help of every command.
const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    bad input or a failure, told in one line on stderr; no output file is left
  2    wrong usage
  130  interrupted (Ctrl-C); no output file is left; 143 when asked to terminate, 129 when the terminal hung up

Environment:
  `tessera knobs` lists every variable that is read, with its value";

/// Wrong usage, as a shell knows it.
const USAGE_CODE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  tessera decode
      the demo that is part of the program, to demo.mp4
  tessera encode --model vae --video clip.mp4 --size 480x720 --output latents.safetensors
  tessera decode --model vae --latents latents.safetensors --output decoded.mp4
  tessera roundtrip --model vae --video clip.mp4 --size 480x720 --output compared.mp4
      both, with what is lost on the way";

/// A tensor compiler for the VAEs of video and image models: video to latents and latents to video
/// on the CPU, and a look at what is compiled.
#[derive(Parser)]
#[command(name = "tessera", version, propagate_version = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Arguments {
    /// Say on stderr what passes and backend do: --log debug.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// How much to say on stderr: info tells what is compiled and in which tiles frames go, debug
    /// of every pass and plan, trace the kernel of every op [default: warn]
    #[arg(long, value_name = "LEVEL", value_enum, global = true, conflicts_with = "verbose")]
    log: Option<LogLevel>,
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
    Taps(taps::Arguments),
    Verify(verify::Arguments),
    Knobs(knobs::Arguments),
    Completions(completions::Arguments),
    #[command(name = plugin::CHILD_COMMAND, hide = true)]
    PluginChild(plugin::ChildArguments),
}

/// What a command may say besides its errors, and where.
#[derive(Debug, Clone, Copy)]
struct Console {
    quiet: bool,
    /// What the summary is printed to.
    summary: Summary,
}

#[derive(Debug, Clone, Copy)]
enum Summary {
    Stdout,
    /// Where standard output is the clip's.
    Stderr,
}

impl Console {
    /// A line to stderr about something that is no error.
    fn note(self, line: &str) {
        if !self.quiet {
            note(line);
        }
    }

    /// Prints a summary.
    fn say(self, text: &str) -> Result<(), Failure> {
        match self.summary {
            _ if self.quiet => Ok(()),
            Summary::Stdout => print(text),
            Summary::Stderr => {
                note(text.trim_end());
                Ok(())
            }
        }
    }

    /// Of a command whose clip goes to this path.
    fn beside_clip(self, path: &Path) -> Console {
        if stream_paths::is_stdout(path) { Console { summary: Summary::Stderr, ..self } } else { self }
    }
}

/// Why a command ended early.
enum Failure {
    /// Arguments that contradict each other, of this command.
    Usage { command: &'static str, message: String },
    /// What the library says.
    Library(Error),
    /// What the workbench says, in words of its own.
    Workbench(workbench::Error),
    /// Standard output cannot be written to.
    Stdout(io::Error),
    /// What was compared differs too much: where.
    Differs(String),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Library(error.into())
    }
}

impl Failure {
    /// What the library says, also where it came by way of the workbench.
    fn of_workbench(error: workbench::Error) -> Failure {
        match error {
            workbench::Error::Tessera(error) => Failure::Library(error),
            error => Failure::Workbench(error),
        }
    }
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(arguments.log.unwrap_or(if arguments.verbose { LogLevel::Debug } else { LogLevel::Warn }));
    let console = Console { quiet: arguments.quiet, summary: Summary::Stdout };
    let end = start_threads(&arguments.command).and_then(|()| run(&arguments.command, console));
    let Err(failure) = end else { return ExitCode::SUCCESS };
    match failure {
        Failure::Usage { command, message } => {
            let mut tessera = Arguments::command();
            tessera.build();
            let command = tessera.find_subcommand_mut(command).expect("a command names itself");
            // What clap would print for arguments that it refuses itself; stderr that is closed is
            // no news.
            let _ = command.error(clap::error::ErrorKind::ArgumentConflict, message).print();
            ExitCode::from(USAGE_CODE)
        }
        Failure::Library(Error::Interrupted) => {
            note("error: interrupted; nothing was written");
            ExitCode::from(interrupt::exit_code())
        }
        Failure::Library(error @ Error::Media(media::Error::Stream { .. })) if interrupt::asked() => {
            note(&format!("error: {error}"));
            ExitCode::from(interrupt::exit_code())
        }
        // As with all that is printed: who has seen enough goes away.
        Failure::Library(Error::Media(media::Error::Stream { path, cause }))
            if cause.kind() == ErrorKind::BrokenPipe =>
        {
            console
                .note(&format!("note: {}: its reader is gone, and the rest of the clip was left out", path.display()));
            ExitCode::SUCCESS
        }
        Failure::Library(error) => {
            note(&format!("error: {error}{}", advice::of(&error)));
            ExitCode::FAILURE
        }
        Failure::Workbench(error) => {
            note(&format!("error: {error}{}", advice::of_workbench(&error)));
            ExitCode::FAILURE
        }
        Failure::Differs(problem) => {
            note(&format!("error: {problem}"));
            ExitCode::FAILURE
        }
        Failure::Stdout(error) => {
            note(&format!("error: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Starts the threads that tensors are read and compared on, for commands that do: later, none to
/// be had would be a panic.
fn start_threads(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Decode(_)
        | Command::Encode(_)
        | Command::Roundtrip(_)
        | Command::Bench(_)
        | Command::Taps(_)
        | Command::Verify(_) => {}
        _ => return Ok(()),
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let started = rayon::ThreadPoolBuilder::new().build_global();
    Ok(started.map_err(|cause| Error::Threads { threads, problem: cause.to_string() })?)
}

/// Runs a command.
fn run(command: &Command, console: Console) -> Result<(), Failure> {
    match command {
        Command::Decode(arguments) => decode::run(arguments, console),
        Command::Encode(arguments) => encode::run(arguments, console),
        Command::Roundtrip(arguments) => roundtrip::run(arguments, console),
        Command::Bench(arguments) => bench::run(arguments, console),
        Command::Emit(arguments) => emit::run(arguments, console),
        Command::Info(arguments) => info::run(arguments, console),
        Command::Compile(arguments) => compile::run(arguments, console),
        Command::Plugin(arguments) => plugin::run(arguments, console),
        Command::Taps(arguments) => taps::run(arguments, console),
        Command::Verify(arguments) => verify::run(arguments, console),
        Command::Knobs(arguments) => knobs::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::PluginChild(arguments) => plugin::run_child(arguments),
    }
}

/// Our own crates, as they are called in logs.
const CRATES: [&str; 9] =
    ["tessera", "runtime", "weights", "files", "media", "frontend", "passes", "backend_cpu", "backend_tpu_stablehlo"];

/// How much to log.
#[derive(Clone, Copy, clap::ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn filter(self) -> log::LevelFilter {
        match self {
            LogLevel::Error => log::LevelFilter::Error,
            LogLevel::Warn => log::LevelFilter::Warn,
            LogLevel::Info => log::LevelFilter::Info,
            LogLevel::Debug => log::LevelFilter::Debug,
            LogLevel::Trace => log::LevelFilter::Trace,
        }
    }
}

/// Our own crates at this level, others' warnings; `RUST_LOG` overrides both.
fn start_log(level: LogLevel) {
    let mut builder = env_logger::Builder::new();
    match ir::knobs::RUST_LOG.get() {
        Some(filter) => builder.parse_filters(&filter.to_string_lossy()),
        None => {
            let level = level.filter();
            builder.filter_level(level.min(log::LevelFilter::Warn));
            CRATES.into_iter().fold(&mut builder, |builder, name| builder.filter_module(name, level))
        }
    };
    builder.init();
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
