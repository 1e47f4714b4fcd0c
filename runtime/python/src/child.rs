//! Child processes, in which plugins are looked at and compile: another Python, that runs
//! `tessera/_child.py`.

use std::path::PathBuf;
use std::time::Duration;

use backend_tpu_stablehlo::pjrt::child::{self, ChildError, Reexecution};
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use pyo3::prelude::*;
use tessera::{Backend, Error, RunOptions};

use crate::errors::{PluginError, to_python};

/// How long a plugin may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a child is started.
///
/// # Errors
/// `PluginError` where nobody knows which program this Python is.
pub(crate) fn reexecution(py: Python<'_>) -> PyResult<Reexecution> {
    let program: Option<PathBuf> = py.import("sys")?.getattr("executable")?.extract()?;
    match program.filter(|program| !program.as_os_str().is_empty()) {
        Some(program) => Ok(Reexecution { program, arguments: vec!["-m".into(), "tessera._child".into()] }),
        None => {
            Err(PluginError::new_err("sys.executable is empty: no child process can be started to look at a plugin"))
        }
    }
}

/// Where flags are set for plugins, looks at the one that the options name: it ends its process over
/// a flag that it does not know, and that shall not be this one.
pub(crate) fn look_at_plugin(py: Python<'_>, options: &RunOptions) -> PyResult<()> {
    if options.backend != Backend::Pjrt || ir::knobs::XLA_FLAGS.get().is_none() {
        return Ok(());
    }
    let reexecution = reexecution(py)?;
    let looked = py.detach(|| -> Result<(), Error> {
        let path = options.plugin.clone().map_or_else(PluginSpec::from_env, Ok)?.locate()?;
        reexecution.describe(&path, PATIENCE)?;
        Ok(())
    });
    looked.map_err(to_python)
}

/// What a child does: it serves the request in `folder`.
#[pyfunction]
pub(crate) fn serve_child(py: Python<'_>, folder: PathBuf) -> PyResult<()> {
    py.detach(|| child::serve(&folder)).map_err(|cause| to_python(ChildError::System(cause)))
}
