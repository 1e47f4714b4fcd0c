//! The extension module `tessera._tessera`: package [`tessera`] as Python calls it. What people see of
//! it is the Python package around it, `tessera/`; that alone calls this.
//!
//! | module | what lives there |
//! |---|---|
//! | `model` | an open model: decoding, encoding, plans, reports |
//! | `blocks` | frames as they are done, from a thread that decodes |
//! | `arrays` | NumPy's arrays as inputs and results, in f32, f16 and bf16 |
//! | `clip_files` | latents and clips in files, read; where outputs go |
//! | `options` | options by their names in Python |
//! | `watch` | Ctrl-C, progress, ending a call from another thread |
//! | `errors` | what the library reports as exceptions |
//! | `report` | what calls tell, as dicts |
//! | `verification`, `compilation` | the workbench: comparing runs, compiling ahead of time |
//! | `child` | child processes, which are Python too |
//! | `fork` | refusing what a fork would hang in |
//! | `log` | logs as `logging` has them |
//!
//! No model is named here, and nothing is computed.

mod arrays;
mod blocks;
mod child;
mod clip_files;
mod compilation;
mod errors;
mod fork;
mod log;
mod model;
mod options;
mod report;
mod verification;
mod watch;

use pyo3::prelude::*;

/// The module.
#[pymodule]
mod _tessera {
    #[pymodule_export]
    use super::arrays::convert;
    #[pymodule_export]
    use super::blocks::Blocks;
    #[pymodule_export]
    use super::child::serve_child;
    #[pymodule_export]
    use super::clip_files::{outputs, remove_leftovers};
    #[pymodule_export]
    use super::model::{Model, published_scaling};
    #[pymodule_export]
    use super::options::check_options;
    #[pymodule_export]
    use super::watch::{Progress, PyCancellation};
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        log::start(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("OPTIONS", options::known_options().to_vec())
    }
}
