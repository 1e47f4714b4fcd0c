//! What is done in a child process: looking at plugins, and compiling ahead of time.
//!
//! Plugins end their process where an error would do: on flags in `XLA_FLAGS` that they do not
//! know, on some modules; a library that only looks like a plugin may do anything. A compiler may
//! hold gigabytes when it is done, and cannot be stopped. libtpu reads how to behave without a TPU
//! from the environment, which is not safe to change in a process with threads. A child has none of
//! these troubles: it is this program, started again; its environment is set before it starts, it
//! can be killed, and when it aborts, that is an error like others.
//!
//! Programs that are to *run* are compiled in the process that runs them, since they would have to
//! be loaded there anyway. What could abort there is kept away: options are encoded from types,
//! modules are our own emitter's, with static dimensions.
//!
//! Parent and child meet in a folder: `request.json` and `module.mlir` go in, `response.json` and
//! `executable` come out.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::compile_options::CompileOptions;
use super::error::{Error, ErrorCode};
use super::executable::{CostAnalysis, MemoryStatistics};
use super::named_value::{Attributes, NamedValue};
use super::plugin::Plugin;
use super::topology::Topology;

/// libtpu's name for a program that needs more memory than a device has.
const HBM_OOM: &str = "CompileTimeHbmOom";

/// How often a parent looks after its child.
const TICK: Duration = Duration::from_millis(20);

/// What a child is asked.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Describe { plugin: OsString },
    Compile { plugin: OsString, target: String, options: CompileOptions },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Response {
    Described(PluginDescription),
    Compiled(Box<Compilation>),
    Failed(Refusal),
}

/// What a plugin says about itself and the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginDescription {
    /// Major and minor version of its API.
    pub api_version: (i32, i32),
    /// Its attributes, in words.
    pub attributes: Vec<(String, String)>,
    /// The platform, its version, and the kind of each device; or why it has none here.
    pub devices: Result<(String, String, Vec<String>), String>,
}

/// A program that was compiled ahead of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compilation {
    /// The kind of the devices, and how many.
    pub devices: (String, usize),
    /// Memory of each device in bytes, where the plugin says it.
    pub device_memory: Option<u64>,
    /// How long compiling took, in seconds.
    pub seconds: f64,
    /// What memory the program needs.
    pub memory: MemoryStatistics,
    /// What it costs.
    pub cost: CostAnalysis,
    /// The version of StableHLO that the plugin has.
    pub stablehlo: Option<String>,
    /// The program, for a machine that has the devices and the same plugin.
    #[serde(skip)]
    pub executable: Vec<u8>,
}

/// Why a child could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Refusal {
    /// In the plugin's words; may be several lines.
    pub message: String,
    /// Whether the program needs more memory than a device has.
    pub is_out_of_memory: bool,
}

impl Refusal {
    /// The message without the plugin's frame around it: of libtpu's `function: code: name:
    /// problem. HLO module: ...` the problem, else the first line.
    pub fn problem(&self) -> &str {
        let line = self.message.lines().next().unwrap_or_default();
        let behind = line.split_once(HBM_OOM).map_or(line, |(_, behind)| behind.trim_start_matches(':'));
        behind.split(". HLO module").next().unwrap_or(behind).trim()
    }
}

/// What went wrong with a child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It said no.
    #[error(transparent)]
    Refused(Refusal),
    /// It ended without an answer.
    #[error("the plugin ended its process ({status}): {said}")]
    Aborted {
        /// How.
        status: ExitStatus,
        /// The end of what it said on stderr.
        said: String,
    },
    /// It took too long.
    #[error("the plugin gave no answer in {0:?}")]
    TimedOut(Duration),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// It cannot be started, or its folder not be used.
    #[error("a child process for the plugin cannot be had: {0}")]
    System(#[from] io::Error),
}

/// How to start this program again so that it calls [`serve`] with the folder that is appended to
/// the arguments.
#[derive(Debug, Clone)]
pub struct Reexecution {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before the folder.
    pub arguments: Vec<String>,
}

/// Asked now and then; breaking kills the child.
pub type Watch<'a> = dyn FnMut() -> ControlFlow<()> + 'a;

impl Reexecution {
    /// Looks at a plugin.
    ///
    /// # Errors
    /// Every [`ChildError`].
    pub fn describe(&self, plugin: &Path, timeout: Duration) -> Result<PluginDescription, ChildError> {
        let folder = tempfile::tempdir()?;
        let started = Instant::now();
        let mut in_time =
            || if started.elapsed() < timeout { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        match self.ask(folder.path(), &Request::Describe { plugin: plugin.into() }, &mut in_time) {
            Ok(Response::Described(description)) => Ok(description),
            Ok(_) => Err(ChildError::System(io::Error::other("it answered another question"))),
            Err(ChildError::Interrupted) => Err(ChildError::TimedOut(timeout)),
            Err(error) => Err(error),
        }
    }

    /// Compiles a module ahead of time for a topology such as `v6e:1x1`; see [`Topology::compile`].
    ///
    /// # Errors
    /// Every [`ChildError`].
    pub fn compile(
        &self,
        plugin: &Path,
        target: &str,
        module: &str,
        options: &CompileOptions,
        watch: &mut Watch<'_>,
    ) -> Result<Compilation, ChildError> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("module.mlir"), module)?;
        let request = Request::Compile { plugin: plugin.into(), target: target.into(), options: options.clone() };
        match self.ask(folder.path(), &request, watch)? {
            Response::Compiled(mut compilation) => {
                compilation.executable = fs::read(folder.path().join("executable"))?;
                Ok(*compilation)
            }
            _ => Err(ChildError::System(io::Error::other("it answered another question"))),
        }
    }

    fn ask(&self, folder: &Path, request: &Request, watch: &mut Watch<'_>) -> Result<Response, ChildError> {
        fs::write(folder.join("request.json"), serde_json::to_vec(request).map_err(io::Error::from)?)?;
        let said = folder.join("stderr");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(folder).envs(ENVIRONMENT);
        // The child ends when its standard input does: it does not outlive us, however we end.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(&said)?).spawn()?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if watch().is_break() {
                child.kill()?;
                child.wait()?;
                return Err(ChildError::Interrupted);
            }
            thread::sleep(TICK);
        };
        // Ctrl-C in a terminal ends the child as well, before anyone looks here.
        if !status.success() && watch().is_break() {
            return Err(ChildError::Interrupted);
        }
        let response = fs::read(folder.join("response.json")).ok().filter(|_| status.success());
        match response.map(|response| serde_json::from_slice(&response)) {
            Some(Ok(Response::Failed(refusal))) => Err(ChildError::Refused(refusal)),
            Some(Ok(response)) => Ok(response),
            Some(Err(cause)) => Err(ChildError::System(cause.into())),
            None => Err(ChildError::Aborted { status, said: last_lines(&fs::read(said).unwrap_or_default()) }),
        }
    }
}

/// For libtpu where there is no TPU: ask no metadata server, be of some type (it need not be the
/// target's), share the machine with other processes, write no logs. Noise of XLA's stays away.
/// Plugins for other devices know none of it, or it is harmless to them.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("TPU_SKIP_MDS_QUERY", "1"),
    ("TPU_ACCELERATOR_TYPE", "v6e-8"),
    ("TPU_WORKER_HOSTNAMES", "localhost"),
    ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ("TPU_LOG_DIR", "disabled"),
    ("TF_CPP_MIN_LOG_LEVEL", "2"),
];

/// The last lines that say something, on one.
fn last_lines(said: &[u8]) -> String {
    const LINES: usize = 3;
    let said = String::from_utf8_lossy(said);
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0 => "it said nothing".into(),
        count => lines[count.saturating_sub(LINES)..].join("; "),
    }
}

/// The child's part: does what the folder asks for, and answers there.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn serve(folder: &Path) -> io::Result<()> {
    thread::spawn(|| {
        // Ends, or fails, when the parent is gone.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let request = serde_json::from_slice(&fs::read(folder.join("request.json"))?)?;
    let response = match request {
        Request::Describe { plugin } => describe(plugin.as_ref()).map(Response::Described),
        Request::Compile { plugin, target, options } => {
            let module = fs::read(folder.join("module.mlir"))?;
            match compile(plugin.as_ref(), &target, &module, &options) {
                Ok(compilation) => {
                    fs::write(folder.join("executable"), &compilation.executable)?;
                    Ok(Response::Compiled(Box::new(compilation)))
                }
                Err(error) => Err(error),
            }
        }
    };
    let response = response.unwrap_or_else(|error| Response::Failed(refusal(&error)));
    fs::write(folder.join("response.json"), serde_json::to_vec(&response)?)
}

fn describe(plugin: &Path) -> Result<PluginDescription, Error> {
    let plugin = Plugin::load(plugin)?;
    let devices = || {
        let client = Client::new(&plugin, &Attributes::new())?;
        let (platform, version) = client.platform()?;
        let kinds = client.devices()?.iter().map(|device| device.description().kind.clone()).collect();
        Ok((platform, version, kinds))
    };
    let attributes = plugin.attributes().iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    let devices = devices().map_err(|error: Error| error.to_string());
    Ok(PluginDescription { api_version: plugin.api_version(), attributes, devices })
}

fn compile(plugin: &Path, target: &str, module: &[u8], options: &CompileOptions) -> Result<Compilation, Error> {
    let plugin = Plugin::load(plugin)?;
    let unknown = |error: Error| {
        Error::Mismatch(format!("`{target}` is no target, such as v6e:1x1 or v5e:2x2, of this plugin: {error}"))
    };
    let topology = Topology::new(&plugin, target).map_err(unknown)?;
    let devices = topology.devices()?;
    if devices.len() < options.partitions {
        let (has, needs) = (devices.len(), options.partitions);
        return Err(Error::Mismatch(format!("{target} has {has} of the {needs} devices that the mesh needs")));
    }
    let kind = devices.first().map(|device| device.kind.clone()).unwrap_or_default();
    let device_memory = device_memory(&topology, devices.first().map(|device| &device.attributes));
    let started = Instant::now();
    let executable = topology.compile(module, options)?;
    let seconds = started.elapsed().as_secs_f64();
    let cost = match executable.cost() {
        Err(error) if error.is_unimplemented() => CostAnalysis::default(),
        cost => cost?,
    };
    Ok(Compilation {
        devices: (kind, devices.len()),
        device_memory,
        seconds,
        memory: executable.memory()?,
        cost,
        stablehlo: plugin.attributes().get("stablehlo_current_version").map(NamedValue::to_string),
        executable: executable.serialize()?,
    })
}

/// libtpu says it of the topology or of each device.
fn device_memory(topology: &Topology, device: Option<&Attributes>) -> Option<u64> {
    const NAME: &str = "device_memory_bytes_limit";
    let of_topology = topology.attributes().ok();
    let value = of_topology.as_ref().and_then(|found| found.get(NAME)).or(device.and_then(|found| found.get(NAME)));
    value.and_then(NamedValue::number).filter(|bytes| *bytes > 0.0).map(|bytes| bytes as u64)
}

fn refusal(error: &Error) -> Refusal {
    let message = error.to_string();
    let exhausted = matches!(error, Error::Plugin { code: ErrorCode::RESOURCE_EXHAUSTED, .. });
    let is_out_of_memory = exhausted || message.contains(HBM_OOM);
    Refusal { message, is_out_of_memory }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_memory_is_told_in_the_compilers_words() {
        let error = Error::Plugin {
            function: "PJRT_Compile",
            code: ErrorCode::RESOURCE_EXHAUSTED,
            message:
                "E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO temporaries \
                      (40.00G) exceeds available HBM (31.24G). HLO module: m.\nSee https://openxla.org"
                    .into(),
        };
        let refusal = refusal(&error);
        assert!(refusal.is_out_of_memory);
        let problem = "Ran out of memory on HBM, the total memory required for HLO temporaries (40.00G) exceeds \
                       available HBM (31.24G)";
        assert_eq!(refusal.problem(), problem);
        let other = Refusal { message: "bad module\nline 2".into(), is_out_of_memory: false };
        assert_eq!(other.problem(), "bad module");
    }
}
