//! A client: a plugin's hold on its devices. Programs are compiled for it, and buffers are on its
//! devices.

use std::sync::Arc;

use super::bindings::*;
use super::compile_options::CompileOptions;
use super::device::Device;
use super::error::Result;
use super::loaded::LoadedExecutable;
use super::named_value::{self, Attributes};
use super::plugin::Plugin;
use super::signature::Signature;
use super::table::{Entry, Table, list, text};

/// A client. What it makes keeps it.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    plugin: Plugin,
    client: *mut PJRT_Client,
}

// SAFETY: a client may be used on any thread.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: ours, and whatever it made kept it, so that nothing is left.
        unsafe { self.plugin.table.destroy(&mut PJRT_Client_Destroy_Args { client: self.client, ..Entry::new() }) };
    }
}

impl Client {
    /// Takes hold of the plugin's devices. A plugin may allow one process alone to do so. Options
    /// are the plugin's own: CPU plugins know `cpu_device_count`.
    ///
    /// # Errors
    /// What the plugin says: no device, one that is in use, an option that it does not know.
    pub fn new(plugin: &Plugin, options: &Attributes) -> Result<Client> {
        let options = named_value::write(options);
        let mut arguments =
            PJRT_Client_Create_Args { create_options: options.as_ptr(), num_options: options.len(), ..Entry::new() };
        // SAFETY: the options are there until the call is over.
        unsafe { plugin.table.call(&mut arguments)? };
        Ok(Client(Arc::new(Inner { plugin: plugin.clone(), client: arguments.client })))
    }

    /// Its plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.0.plugin
    }

    pub(super) fn table(&self) -> Table {
        self.0.plugin.table
    }

    pub(super) fn pointer(&self) -> *mut PJRT_Client {
        self.0.client
    }

    /// The platform's name, such as `cpu` or `tpu`, and its version.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn platform(&self) -> Result<(String, String)> {
        let mut name = PJRT_Client_PlatformName_Args { client: self.0.client, ..Entry::new() };
        let mut version = PJRT_Client_PlatformVersion_Args { client: self.0.client, ..Entry::new() };
        // SAFETY: the client is ours; its texts live as long, and are copied.
        unsafe {
            self.table().call(&mut name)?;
            self.table().call(&mut version)?;
            Ok((
                text(name.platform_name, name.platform_name_size),
                text(version.platform_version, version.platform_version_size),
            ))
        }
    }

    /// The devices that this process can use.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let mut found = PJRT_Client_AddressableDevices_Args { client: self.0.client, ..Entry::new() };
        // SAFETY: the client is ours, and its devices live as long.
        unsafe {
            self.table().call(&mut found)?;
            let devices = list(found.addressable_devices, found.num_addressable_devices);
            devices.iter().map(|&device| Device::new(self, device)).collect()
        }
    }

    /// Compiles a StableHLO module, text or bytecode, and loads it. `signature` is what `main`
    /// takes and returns on each device.
    ///
    /// Every dimension of the module must be static: on a dynamic one, libtpu ends the process.
    ///
    /// # Errors
    /// What the plugin says of the module; [`super::Error::Mismatch`] if it returns other types
    /// than `signature` has.
    pub fn compile(&self, module: &[u8], signature: Signature, options: &CompileOptions) -> Result<LoadedExecutable> {
        let program = mlir(module);
        let options = options.encode();
        let mut arguments = PJRT_Client_Compile_Args {
            client: self.0.client,
            program: &raw const program,
            compile_options: options.as_ptr().cast(),
            compile_options_size: options.len(),
            ..Entry::new()
        };
        // SAFETY: module, options and client are there until the call is over; the executable is
        // new.
        unsafe {
            self.table().call(&mut arguments)?;
            LoadedExecutable::new(self, arguments.executable, signature)
        }
    }

    /// Loads what [`super::Executable::serialize`] made with the very same plugin on the very same
    /// kind of machine. Plugins check too little: one version may load another's executable and
    /// compute wrong numbers. [`super::cache`] takes care.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn load(&self, serialized: &[u8], signature: Signature) -> Result<LoadedExecutable> {
        let mut arguments = PJRT_Executable_DeserializeAndLoad_Args {
            client: self.0.client,
            serialized_executable: serialized.as_ptr().cast(),
            serialized_executable_size: serialized.len(),
            ..Entry::new()
        };
        // SAFETY: the bytes and the client are there until the call is over; the executable is new.
        unsafe {
            self.table().call(&mut arguments)?;
            LoadedExecutable::new(self, arguments.loaded_executable, signature)
        }
    }
}

/// A module as plugins take it; points into `module`.
pub(super) fn mlir(module: &[u8]) -> PJRT_Program {
    const FORMAT: &str = "mlir";
    PJRT_Program {
        struct_size: PJRT_Program_STRUCT_SIZE as usize,
        // Read only, whatever the type says: the same field takes results elsewhere.
        code: module.as_ptr().cast_mut().cast(),
        code_size: module.len(),
        format: FORMAT.as_ptr().cast(),
        format_size: FORMAT.len(),
        ..Default::default()
    }
}
