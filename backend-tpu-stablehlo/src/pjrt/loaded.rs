//! A compiled program on its devices: running it.

use std::ptr;

use super::bindings::*;
use super::buffer::Buffer;
use super::client::Client;
use super::error::{Error, Result};
use super::event::Event;
use super::executable::Executable;
use super::signature::{Signature, same};
use super::table::{Entry, Table, list};

/// A program that can run.
pub struct LoadedExecutable {
    client: Client,
    loaded: Handle,
    executable: Executable,
    signature: Signature,
    /// The numbers of the devices that it runs on, in the order of argument lists.
    devices: Vec<i32>,
}

/// The plugin's loaded executable, destroyed with this.
struct Handle {
    table: Table,
    loaded: *mut PJRT_LoadedExecutable,
}

// SAFETY: a loaded executable is never changed, and may run on several threads at once.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again; its client is still there.
        unsafe {
            self.table.destroy(&mut PJRT_LoadedExecutable_Destroy_Args { executable: self.loaded, ..Entry::new() });
        }
    }
}

/// What a program is given.
#[derive(Debug)]
pub enum Input<'a> {
    /// A buffer that the caller keeps. Where the program would write a result over it, the plugin
    /// copies it first.
    Keep(&'a Buffer),
    /// A buffer that is used up: a program that writes a result over the argument reuses its
    /// memory.
    Donate(Buffer),
}

impl Input<'_> {
    fn buffer(&self) -> &Buffer {
        match self {
            Input::Keep(buffer) => buffer,
            Input::Donate(buffer) => buffer,
        }
    }
}

/// A run under way.
pub struct Run {
    /// What it returns, for each device in order. The buffers can be used at once: what uses them
    /// waits.
    pub results: Vec<Vec<Buffer>>,
    done: Vec<Event>,
}

impl Run {
    /// Waits until every device is done.
    ///
    /// # Errors
    /// How the run failed.
    pub fn wait(self) -> Result<Vec<Vec<Buffer>>> {
        self.done.iter().try_for_each(Event::wait)?;
        Ok(self.results)
    }

    /// Whether every device is done.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn is_done(&self) -> Result<bool> {
        self.done.iter().try_fold(true, |all, done| Ok(all && done.is_ready()?))
    }
}

impl LoadedExecutable {
    /// # Safety
    /// A loaded executable of this client that is handed over.
    pub(super) unsafe fn new(
        client: &Client,
        loaded: *mut PJRT_LoadedExecutable,
        signature: Signature,
    ) -> Result<LoadedExecutable> {
        let table = client.table();
        let loaded = Handle { table, loaded };
        let mut executable =
            PJRT_LoadedExecutable_GetExecutable_Args { loaded_executable: loaded.loaded, ..Entry::new() };
        let mut devices = PJRT_LoadedExecutable_AddressableDevices_Args { executable: loaded.loaded, ..Entry::new() };
        // SAFETY: the loaded executable is ours; the executable is handed over; devices live as
        // long as their client.
        let (executable, devices) = unsafe {
            table.call(&mut executable)?;
            let executable = Executable::new(table, executable.executable);
            table.call(&mut devices)?;
            let devices = list(devices.addressable_devices, devices.num_addressable_devices);
            let id = |&device| Ok(super::device::Device::new(client, device)?.description().id);
            (executable, devices.iter().map(id).collect::<Result<Vec<_>>>()?)
        };
        signature.check_results(&executable.results()?)?;
        Ok(LoadedExecutable { client: client.clone(), loaded, executable, signature, devices })
    }

    /// What it takes and returns on each device.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The numbers of the devices that it runs on.
    pub fn devices(&self) -> &[i32] {
        &self.devices
    }

    /// What it needs and costs, and its bytes.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// Begins a run, with a list of arguments for each device in order, and returns at once.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a list is missing, or an argument has another type or is on another
    /// device than the program takes; what the plugin says. Donated buffers are gone either
    /// way.
    pub fn run(&self, inputs: Vec<Vec<Input<'_>>>) -> Result<Run> {
        self.check(&inputs)?;
        let keep = self.kept(&inputs);
        let mut options = PJRT_ExecuteOptions {
            struct_size: PJRT_ExecuteOptions_STRUCT_SIZE as usize,
            non_donatable_input_indices: keep.as_ptr(),
            num_non_donatable_input_indices: keep.len(),
            ..Default::default()
        };
        let pointers = |list: &Vec<Input<'_>>| list.iter().map(|input| input.buffer().buffer).collect();
        let arguments: Vec<Vec<*mut PJRT_Buffer>> = inputs.iter().map(pointers).collect();
        let arguments: Vec<*const *mut PJRT_Buffer> = arguments.iter().map(|list| list.as_ptr()).collect();
        let mut results = vec![vec![ptr::null_mut(); self.signature.results.len()]; inputs.len()];
        let result_lists: Vec<*mut *mut PJRT_Buffer> = results.iter_mut().map(|list| list.as_mut_ptr()).collect();
        let mut events = vec![ptr::null_mut(); inputs.len()];
        let mut call = PJRT_LoadedExecutable_Execute_Args {
            executable: self.loaded.loaded,
            options: &raw mut options,
            argument_lists: arguments.as_ptr(),
            num_devices: inputs.len(),
            num_args: self.signature.arguments.len(),
            output_lists: result_lists.as_ptr(),
            device_complete_events: events.as_mut_ptr(),
            ..Entry::new()
        };
        // SAFETY: every list is as long as is said, lists and options are there until the call is
        // over, and the arguments are of the types and on the devices that the program takes.
        // Buffers and events that come out are new, of the types that were compared when the
        // program was loaded. The plugin itself holds the arguments for as long as it runs.
        unsafe {
            self.client.table().call(&mut call)?;
            let done = events.into_iter().map(|event| Event::new(self.client.table(), event)).collect();
            let of_device = |(list, &device): (Vec<*mut PJRT_Buffer>, &i32)| {
                let typed = list.into_iter().zip(&self.signature.results);
                typed.map(|(buffer, ty)| Buffer::new(&self.client, buffer, ty.clone(), device)).collect()
            };
            Ok(Run { results: results.into_iter().zip(&self.devices).map(of_device).collect(), done })
        }
    }

    /// Arguments that the program would write over, but that the caller keeps.
    fn kept(&self, inputs: &[Vec<Input<'_>>]) -> Vec<i64> {
        let is_kept = |index: usize| inputs.iter().any(|list| matches!(list[index], Input::Keep(_)));
        let donated = self.signature.arguments.iter().enumerate().filter(|(_, argument)| argument.donated);
        donated.map(|(index, _)| index).filter(|&index| is_kept(index)).map(|index| index as i64).collect()
    }

    fn check(&self, inputs: &[Vec<Input<'_>>]) -> Result<()> {
        let fail = |problem: String| Err(Error::Mismatch(problem));
        if inputs.len() != self.devices.len() {
            return fail(format!("arguments for {} devices, the program runs on {}", inputs.len(), self.devices.len()));
        }
        for (list, &device) in inputs.iter().zip(&self.devices) {
            let expected = &self.signature.arguments;
            if list.len() != expected.len() {
                return fail(format!("{} arguments, the program takes {}", list.len(), expected.len()));
            }
            for (index, (input, expected)) in list.iter().zip(expected).enumerate() {
                let buffer = input.buffer();
                if !same(buffer.ty(), &expected.ty) {
                    return fail(format!("argument {index} is {}, the program takes {}", buffer.ty(), expected.ty));
                }
                if buffer.device() != device {
                    return fail(format!(
                        "argument {index} is on device {}, the program runs on {device}",
                        buffer.device()
                    ));
                }
            }
        }
        Ok(())
    }
}
