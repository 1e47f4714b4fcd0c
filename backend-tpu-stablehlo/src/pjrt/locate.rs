//! Where plugins are: a path, or a name that is looked for in the data folder of Tessera, where
//! [`install`] puts plugins, and in what the installed Python has.
//!
//! Tessera redistributes no plugin. They come from the Python package index, by the user's own pip.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The variable that names the plugin where none is asked for.
pub const PLUGIN_VARIABLE: &str = ir::knobs::PJRT_PLUGIN.name;

/// Plugins that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginName {
    /// XLA for CPUs.
    Cpu,
    /// libtpu: TPUs, and compiling for them ahead of time.
    Tpu,
    /// XLA for NVIDIA GPUs.
    Cuda,
}

/// Which plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSpec {
    /// This file.
    Path(PathBuf),
    /// One that is looked for.
    Name(PluginName),
}

/// Why a plugin cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// It is nowhere.
    #[error("no PJRT plugin for `{}` in {}; {}", name.name(), listed(places), advice(*name))]
    Missing {
        /// Which.
        name: PluginName,
        /// Where it was looked for.
        places: Vec<PathBuf>,
    },
    /// None was named.
    #[error(
        "which PJRT plugin? Name one, if only in {PLUGIN_VARIABLE}: cpu, tpu, cuda, or the path of a shared library"
    )]
    Unnamed,
    /// One that Tessera does not install.
    #[error("the plugin for `{}` is not installed from here; {}", .0.name(), advice(*.0))]
    NotOffered(PluginName),
    /// The system has no folder for data of programs.
    #[error("no folder for the data of programs is known: set HOME or XDG_DATA_HOME")]
    NoDataFolder,
    /// There is no Python that could fetch it.
    #[error("no Python with pip on the PATH: install one, or get the library by other means and name its path")]
    NoPip,
    /// pip failed.
    #[error("{command} failed: {problem}")]
    Pip {
        /// What was run.
        command: String,
        /// The end of what it said.
        problem: String,
    },
    /// The folder of plugins cannot be written.
    #[error("{}: {cause}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
}

impl PluginName {
    /// Every name.
    pub const ALL: [PluginName; 3] = [PluginName::Cpu, PluginName::Tpu, PluginName::Cuda];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            PluginName::Cpu => "cpu",
            PluginName::Tpu => "tpu",
            PluginName::Cuda => "cuda",
        }
    }

    /// The library's place below a folder of Python packages.
    const fn library(self) -> &'static str {
        match self {
            PluginName::Cpu => "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
            PluginName::Tpu => "libtpu/libtpu.so",
            PluginName::Cuda => "jax_plugins/xla_cuda13/xla_cuda_plugin.so",
        }
    }

    /// The package that is installed, in the version that this program was tested with.
    const fn package(self) -> Option<&'static str> {
        match self {
            PluginName::Cpu => Some("lammps-jax-pjrt-cpu==0.11.2"),
            PluginName::Tpu => Some("libtpu==0.0.52"),
            PluginName::Cuda => None,
        }
    }

    /// What to know before installing it.
    pub const fn notice(self) -> Option<&'static str> {
        match self {
            PluginName::Tpu => Some(
                "libtpu is Google's and under its own terms, the Google Cloud Platform Terms of Service \
                 (https://cloud.google.com/terms); it may not be passed on",
            ),
            PluginName::Cpu | PluginName::Cuda => None,
        }
    }
}

fn advice(name: PluginName) -> &'static str {
    match name {
        PluginName::Cpu => "`tessera plugin install cpu` gets it",
        PluginName::Tpu => "`tessera plugin install tpu` gets it",
        PluginName::Cuda => "`pip install jax[cuda13]` brings it, with the CUDA libraries that it needs",
    }
}

fn listed(places: &[PathBuf]) -> String {
    if places.is_empty() {
        return "no folder: there is neither a data folder nor a Python".into();
    }
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl From<&OsStr> for PluginSpec {
    fn from(written: &OsStr) -> PluginSpec {
        let name = PluginName::ALL.into_iter().find(|name| name.name() == written);
        name.map_or_else(|| PluginSpec::Path(written.into()), PluginSpec::Name)
    }
}

impl PluginSpec {
    /// What [`PLUGIN_VARIABLE`] names.
    ///
    /// # Errors
    /// [`LocateError::Unnamed`] if it is not set.
    pub fn from_env() -> Result<PluginSpec, LocateError> {
        match ir::knobs::PJRT_PLUGIN.get() {
            None => Err(LocateError::Unnamed),
            Some(value) => Ok(PluginSpec::from(value.as_os_str())),
        }
    }

    /// The plugin's file; whether it is one shows when it is loaded.
    ///
    /// # Errors
    /// [`LocateError::Missing`].
    pub fn locate(&self) -> Result<PathBuf, LocateError> {
        match self {
            PluginSpec::Path(path) => Ok(path.clone()),
            PluginSpec::Name(name) => {
                let places: Vec<_> = data_folder(*name).into_iter().chain(python_folders()).collect();
                let found = places.iter().map(|place| place.join(name.library())).find(|library| library.is_file());
                found.ok_or(LocateError::Missing { name: *name, places })
            }
        }
    }
}

/// The folder of Tessera's own plugin of this name.
fn data_folder(name: PluginName) -> Option<PathBuf> {
    Some(ir::knobs::data_folder()?.join("tessera/plugins").join(name.name()))
}

/// Pythons that may be on the PATH.
const PYTHONS: [&str; 2] = ["python3", "python"];

/// Where the Python on the PATH looks for packages, a virtual environment's included.
fn python_folders() -> Vec<PathBuf> {
    let ask = |python: &&str| {
        let script = "import sys; print('\\n'.join(sys.path))";
        let output = Command::new(python).args(["-c", script]).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let folders = PYTHONS.iter().find_map(ask).unwrap_or_default();
    // `site-packages`, or Debian's `dist-packages`: packages are in no other place.
    folders.lines().filter(|line| line.ends_with("-packages")).map(PathBuf::from).filter(|path| path.is_dir()).collect()
}

/// Gets a plugin with the user's own pip and puts it into Tessera's data folder, whole or not at
/// all; one that is there is replaced. Returns the library's path.
///
/// # Errors
/// Every [`LocateError`] but the first two.
pub fn install(name: PluginName) -> Result<PathBuf, LocateError> {
    let package = name.package().ok_or(LocateError::NotOffered(name))?;
    let folder = data_folder(name).ok_or(LocateError::NoDataFolder)?;
    let parent = folder.parent().unwrap_or(&folder);
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |cause| LocateError::Folder { path, cause }
    };
    fs::create_dir_all(parent).map_err(fail(parent))?;
    let staging = tempfile::Builder::new().prefix(".installing-").tempdir_in(parent).map_err(fail(parent))?;
    pip(package, staging.path())?;
    let library = name.library();
    if !staging.path().join(library).is_file() {
        let problem = format!("the package has no {library}: is there one for this system?");
        return Err(LocateError::Pip { command: format!("pip install {package}"), problem });
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(fail(&folder))?;
    }
    fs::rename(staging.keep(), &folder).map_err(fail(&folder))?;
    Ok(folder.join(library))
}

/// How pip is asked to install, whatever the user's own settings: only the package, without those
/// that it names as needed, which no plugin needs; and with no other place than the one that is
/// named, which pip refuses beside it. Not `--isolated`, which would be shorter than this list: it
/// leaves out all settings, and with them the user's index and proxy.
const PIP_INSTALL: [&str; 9] = [
    "-m",
    "pip",
    "install",
    "--no-deps",
    "--only-binary",
    ":all:",
    "--disable-pip-version-check",
    "--prefix=",
    "--root=/",
];
/// What has no option to say the contrary. The variables win over pip's files of settings. Whatever
/// else is set, such as an index or a proxy, stays.
const PIP_SETTINGS: [(&str, &str); 3] = [("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0"), ("PIP_DRY_RUN", "0")];

/// Installs a package.
fn pip(package: &str, target: &Path) -> Result<(), LocateError> {
    let has_pip = |python: &&&str| {
        let version = Command::new(python).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    };
    let python = PYTHONS.iter().find(has_pip).ok_or(LocateError::NoPip)?;
    let mut command = Command::new(python);
    command.args(PIP_INSTALL).arg("--target").arg(target).arg(package).envs(PIP_SETTINGS).stdin(Stdio::null());
    let fail = |problem| LocateError::Pip { command: format!("{python} -m pip install {package}"), problem };
    let output = command.output().map_err(|cause| fail(cause.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // Behind the error come warnings and notices.
    let lines = || said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let told = lines().find(|line| line.starts_with("ERROR")).or_else(|| lines().next());
    Err(fail(told.unwrap_or("it said nothing").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let spec = |text: &str| PluginSpec::from(OsStr::new(text));
        assert_eq!(spec("tpu"), PluginSpec::Name(PluginName::Tpu));
        assert_eq!(spec("./tpu"), PluginSpec::Path("./tpu".into()));
        assert_eq!(spec("a/libtpu.so").locate().unwrap(), Path::new("a/libtpu.so"));
    }

    #[test]
    fn errors_say_what_to_do() {
        let missing = LocateError::Missing { name: PluginName::Cpu, places: vec!["a".into(), "b".into()] };
        assert_eq!(missing.to_string(), "no PJRT plugin for `cpu` in a, b; `tessera plugin install cpu` gets it");
        let cuda = install(PluginName::Cuda).unwrap_err().to_string();
        assert!(cuda.contains("pip install jax[cuda13]"), "{cuda}");
        assert!(LocateError::Unnamed.to_string().contains("TESSERA_PJRT_PLUGIN"));
    }
}
