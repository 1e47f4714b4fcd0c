//! Topologies: devices that need not be there. A program is compiled ahead of time for one.

use super::bindings::*;
use super::client::mlir;
use super::compile_options::CompileOptions;
use super::device::DeviceDescription;
use super::error::Result;
use super::executable::Executable;
use super::named_value::{self, Attributes};
use super::plugin::Plugin;
use super::table::{Entry, text};

/// Some number of devices and how they are connected.
pub struct Topology {
    plugin: Plugin,
    topology: *mut PJRT_TopologyDescription,
}

// SAFETY: a topology is never changed, and may be used on any thread.
unsafe impl Send for Topology {}
// SAFETY: as above.
unsafe impl Sync for Topology {}

impl Topology {
    /// The topology that the plugin knows by this name, such as `v6e:2x2`.
    ///
    /// # Errors
    /// What the plugin says of the name; CPU plugins know no names.
    pub fn new(plugin: &Plugin, name: &str) -> Result<Topology> {
        let mut arguments = PJRT_TopologyDescription_Create_Args {
            topology_name: name.as_ptr().cast(),
            topology_name_size: name.len(),
            ..Entry::new()
        };
        // SAFETY: the name is there until the call is over; the topology is new.
        unsafe { plugin.table.call(&mut arguments)? };
        Ok(Topology { plugin: plugin.clone(), topology: arguments.topology })
    }

    /// The platform's name, such as `tpu`, and its version.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn platform(&self) -> Result<(String, String)> {
        let mut name = PJRT_TopologyDescription_PlatformName_Args { topology: self.topology, ..Entry::new() };
        let mut version = PJRT_TopologyDescription_PlatformVersion_Args { topology: self.topology, ..Entry::new() };
        // SAFETY: the topology is ours; its texts live as long, and are copied.
        unsafe {
            self.plugin.table.call(&mut name)?;
            self.plugin.table.call(&mut version)?;
            Ok((
                text(name.platform_name, name.platform_name_size),
                text(version.platform_version, version.platform_version_size),
            ))
        }
    }

    /// Its devices.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn devices(&self) -> Result<Vec<DeviceDescription>> {
        let mut found = PJRT_TopologyDescription_GetDeviceDescriptions_Args { topology: self.topology, ..Entry::new() };
        // SAFETY: the topology is ours; its descriptions live as long, and are copied.
        unsafe {
            self.plugin.table.call(&mut found)?;
            DeviceDescription::read_all(self.plugin.table, found.descriptions, found.num_descriptions)
        }
    }

    /// What the plugin says about it.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn attributes(&self) -> Result<Attributes> {
        let mut found = PJRT_TopologyDescription_Attributes_Args { topology: self.topology, ..Entry::new() };
        // SAFETY: the topology is ours; its attributes live as long, and are copied.
        unsafe {
            self.plugin.table.call(&mut found)?;
            Ok(named_value::read(found.attributes, found.num_attributes))
        }
    }

    /// Compiles a StableHLO module, text or bytecode, for these devices. Every dimension must be
    /// static: on a dynamic one, libtpu ends the process.
    ///
    /// # Errors
    /// What the plugin says: of the module, or that it needs more memory than a device has.
    pub fn compile(&self, module: &[u8], options: &CompileOptions) -> Result<Executable> {
        let program = mlir(module);
        let options = options.encode();
        let mut arguments = PJRT_Compile_Args {
            topology: self.topology,
            program: &raw const program,
            compile_options: options.as_ptr().cast(),
            compile_options_size: options.len(),
            ..Entry::new()
        };
        // SAFETY: module, options and topology are there until the call is over; the executable is
        // new.
        unsafe {
            self.plugin.table.call(&mut arguments)?;
            Ok(Executable::new(self.plugin.table, arguments.executable))
        }
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe {
            let mut arguments = PJRT_TopologyDescription_Destroy_Args { topology: self.topology, ..Entry::new() };
            self.plugin.table.destroy(&mut arguments);
        }
    }
}
