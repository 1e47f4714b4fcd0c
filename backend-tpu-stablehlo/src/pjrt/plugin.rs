//! A plugin: a shared library that exports `GetPjrtApi`. Where plugins are looked for is in
//! [`super::locate`].

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;

use super::bindings::{PJRT_Api, PJRT_Plugin_Attributes_Args, PJRT_Plugin_Initialize_Args};
use super::error::{Error, Result};
use super::named_value::{self, Attributes};
use super::table::{Entry, Table};

/// A plugin that is loaded, for the rest of the process: plugins start threads, and none can be
/// unloaded.
#[derive(Clone)]
pub struct Plugin {
    path: Arc<Path>,
    pub(super) table: Table,
}

/// What this process has loaded. A plugin is initialised once.
static LOADED: Mutex<BTreeMap<PathBuf, Plugin>> = Mutex::new(BTreeMap::new());

impl Plugin {
    /// Loads a plugin, or returns it if it is loaded already.
    ///
    /// This runs the library's code: load what you trust.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::NotAPlugin`], [`Error::ApiVersion`]; what the plugin says when it
    /// is initialised.
    pub fn load(path: &Path) -> Result<Plugin> {
        let load = |problem: String| Error::Load { path: path.into(), problem };
        // Absolute, so that the loader does not look for it in its own folders.
        let absolute = path.canonicalize().map_err(|cause| load(cause.to_string()))?;
        if absolute.is_dir() {
            return Err(load("it is a folder; name the shared library in it".into()));
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = loaded.get(&absolute) {
            return Ok(plugin.clone());
        }
        // What the loader says of the file is the cause of the library's own error.
        let said = |error: libloading::Error| error.source().map_or(error.to_string(), ToString::to_string);
        let library = open(&absolute).map_err(|error| load(said(error)))?;
        let not_a_plugin = |problem: &str| Error::NotAPlugin { path: path.into(), problem: problem.into() };
        // SAFETY: this is the one function that a plugin exports, and it has this type.
        let get = unsafe { library.get::<unsafe extern "C" fn() -> *const PJRT_Api>(b"GetPjrtApi\0") };
        let get = get.map_err(|_| not_a_plugin("it has no GetPjrtApi"))?;
        // SAFETY: it takes nothing.
        let table = NonNull::new(unsafe { get() }.cast_mut());
        let table = table.ok_or_else(|| not_a_plugin("its GetPjrtApi gives nothing"));
        // Never unloaded, whatever comes of it: it may have begun threads.
        std::mem::forget(library);
        // SAFETY: just returned by a plugin that stays.
        let plugin = Plugin { path: path.into(), table: unsafe { Table::new(table?, path)? } };
        // SAFETY: no pointers among the arguments.
        unsafe { plugin.table.call(&mut PJRT_Plugin_Initialize_Args::new())? };
        loaded.insert(absolute, plugin.clone());
        Ok(plugin)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Major and minor version of the API that it speaks.
    pub fn api_version(&self) -> (i32, i32) {
        self.table.version()
    }

    /// What the plugin says about itself: `stablehlo_current_version`, `stablehlo_minimum_version`,
    /// `xla_version` and others. Empty where it says nothing.
    pub fn attributes(&self) -> Attributes {
        let mut arguments = PJRT_Plugin_Attributes_Args::new();
        // SAFETY: no pointers go in; the list that comes out lives as long as the plugin.
        unsafe {
            match self.table.call(&mut arguments) {
                Ok(()) => named_value::read(arguments.attributes, arguments.num_attributes),
                Err(_) => Attributes::new(),
            }
        }
    }
}

/// All its symbols are resolved at once, so that what is missing is an error now and not an abort
/// later; and they are the library's own, so that two plugins with the same symbols can be loaded.
#[cfg(unix)]
fn open(path: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::unix;
    // SAFETY: loading runs the library's initialisers; that it may is what the caller asked for.
    unsafe { unix::Library::open(Some(path), unix::RTLD_NOW | unix::RTLD_LOCAL).map(Library::from) }
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: loading runs the library's initialisers; that it may is what the caller asked for.
    unsafe { Library::new(path) }
}
