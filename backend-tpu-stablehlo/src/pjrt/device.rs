//! Devices: those that a client can use, and descriptions of those that a topology has.

use super::bindings::*;
use super::client::Client;
use super::error::Result;
use super::named_value::{self, Attributes};
use super::table::{Entry, Table, list, text};

/// A device that programs can run on. Keeps its client.
#[derive(Clone)]
pub struct Device {
    pub(super) client: Client,
    pub(super) device: *mut PJRT_Device,
    description: DeviceDescription,
}

// SAFETY: a device belongs to its client, which is kept, and may be used on any thread.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// What a plugin says about a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDescription {
    /// Its number, unique among the devices of its kind.
    pub id: i32,
    /// What it is, such as `cpu` or `TPU v6 lite`.
    pub kind: String,
    /// A name for people.
    pub name: String,
    /// More, as the plugin has it.
    pub attributes: Attributes,
}

/// Memory of a device now, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// In use.
    pub in_use: u64,
    /// The most that was in use, where the plugin keeps count.
    pub peak: Option<u64>,
    /// What can be used, where the plugin knows.
    pub limit: Option<u64>,
}

impl Device {
    /// # Safety
    /// A device of this client.
    pub(super) unsafe fn new(client: &Client, device: *mut PJRT_Device) -> Result<Device> {
        let table = client.table();
        let mut arguments = PJRT_Device_GetDescription_Args { device, ..Entry::new() };
        // SAFETY: the device is the caller's promise; its description lives as long.
        let description = unsafe {
            table.call(&mut arguments)?;
            DeviceDescription::read(table, arguments.device_description)?
        };
        Ok(Device { client: client.clone(), device, description })
    }

    /// What the plugin says about it.
    pub fn description(&self) -> &DeviceDescription {
        &self.description
    }

    /// Its memory.
    ///
    /// # Errors
    /// Unimplemented, where the plugin keeps no count.
    pub fn memory(&self) -> Result<DeviceMemory> {
        let mut found = PJRT_Device_MemoryStats_Args { device: self.device, ..Entry::new() };
        // SAFETY: the device belongs to a client that is kept.
        unsafe { self.client.table().call(&mut found)? };
        let known = |bytes: i64, is_set: bool| is_set.then_some(bytes.max(0) as u64);
        Ok(DeviceMemory {
            in_use: found.bytes_in_use.max(0) as u64,
            peak: known(found.peak_bytes_in_use, found.peak_bytes_in_use_is_set),
            limit: known(found.bytes_limit, found.bytes_limit_is_set),
        })
    }
}

impl DeviceDescription {
    /// # Safety
    /// A description whose device or topology is there.
    pub(super) unsafe fn read(table: Table, device_description: *mut PJRT_DeviceDescription) -> Result<Self> {
        let mut id = PJRT_DeviceDescription_Id_Args { device_description, ..Entry::new() };
        let mut kind = PJRT_DeviceDescription_Kind_Args { device_description, ..Entry::new() };
        let mut name = PJRT_DeviceDescription_ToString_Args { device_description, ..Entry::new() };
        let mut of = PJRT_DeviceDescription_Attributes_Args { device_description, ..Entry::new() };
        // SAFETY: the caller's promise; what comes out lives as long as the description, and is
        // copied.
        unsafe {
            table.call(&mut id)?;
            table.call(&mut kind)?;
            table.call(&mut name)?;
            table.call(&mut of)?;
            Ok(Self {
                id: id.id,
                kind: text(kind.device_kind, kind.device_kind_size),
                name: text(name.to_string, name.to_string_size),
                attributes: named_value::read(of.attributes, of.num_attributes),
            })
        }
    }

    /// # Safety
    /// So many descriptions whose devices or topology are there.
    pub(super) unsafe fn read_all(
        table: Table,
        start: *const *mut PJRT_DeviceDescription,
        count: usize,
    ) -> Result<Vec<Self>> {
        // SAFETY: the caller's promise.
        unsafe { list(start, count).iter().map(|&description| Self::read(table, description)).collect() }
    }
}
