//! Buffers: tensors in a device's memory, and copies between them and the host's. Copies run while
//! the caller does something else: what they read or write is kept until they are done.

use std::any::Any;
use std::fmt;
use std::ptr;

use ir::TensorType;

use super::bindings::*;
use super::client::Client;
use super::device::Device;
use super::error::{Error, Result};
use super::event::Event;
use super::signature::{Element, buffer_type, dimensions};
use super::table::Entry;

/// A tensor on a device, dense and row-major as far as anyone can see.
///
/// It may still be on its way, from the host or from a program that runs: it can be used at once,
/// and what uses it waits.
pub struct Buffer {
    client: Client,
    pub(super) buffer: *mut PJRT_Buffer,
    ty: TensorType,
    /// The number of its device.
    device: i32,
    /// What is being copied from the host; it must not go before the copy is done.
    source: Option<Source>,
}

struct Source {
    done: Event,
    _data: Box<dyn Any + Send + Sync>,
}

// SAFETY: a buffer belongs to its client, which is kept, and may be used on any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Device {
    /// Begins to copy `data` to the device and returns at once: the copy runs beside what the
    /// caller does next.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if `data` does not fill the type, or is of another element type; what
    /// the plugin says, mostly that the device has no memory left.
    pub fn put<T: Element>(&self, data: Vec<T>, ty: &TensorType) -> Result<Buffer> {
        self.check_source(&data, ty)?;
        let semantics = PJRT_HostBufferSemantics_kImmutableUntilTransferCompletes;
        // SAFETY: the data goes to the heap as it is, and stays there until the copy is done.
        let (mut buffer, done) = unsafe { self.copy(&data, ty, semantics)? };
        buffer.source = Some(Source { done, _data: Box::new(data) });
        Ok(buffer)
    }

    /// Copies `data` to the device; when this returns, `data` is not needed any more.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_slice<T: Element>(&self, data: &[T], ty: &TensorType) -> Result<Buffer> {
        self.check_source(data, ty)?;
        let semantics = PJRT_HostBufferSemantics_kImmutableOnlyDuringCall;
        // SAFETY: with these semantics the data is not read after the call.
        let (buffer, done) = unsafe { self.copy(data, ty, semantics)? };
        done.wait()?;
        Ok(buffer)
    }

    fn check_source<T: Element>(&self, data: &[T], ty: &TensorType) -> Result<()> {
        check_element::<T>(ty)?;
        if data.len() != ty.elements() {
            return Err(Error::Mismatch(format!("{} values do not fill {ty}", data.len())));
        }
        Ok(())
    }

    /// # Safety
    /// `data` stays, unchanged, for as long as `semantics` have it.
    unsafe fn copy<T: Element>(
        &self,
        data: &[T],
        ty: &TensorType,
        semantics: PJRT_HostBufferSemantics,
    ) -> Result<(Buffer, Event)> {
        let dims = dimensions(ty);
        let mut arguments = PJRT_Client_BufferFromHostBuffer_Args {
            client: self.client.pointer(),
            data: data.as_ptr().cast(),
            type_: buffer_type(T::ELEMENT),
            dims: dims.as_ptr(),
            num_dims: dims.len(),
            host_buffer_semantics: semantics,
            device: self.device,
            ..Entry::new()
        };
        // SAFETY: client, device and sizes are there until the call is over, `data` by the caller's
        // promise; its elements fill the type. What comes out is new.
        unsafe {
            self.client.table().call(&mut arguments)?;
            let done = Event::new(self.client.table(), arguments.done_with_host_buffer);
            Ok((Buffer::new(&self.client, arguments.buffer, ty.clone(), self.description().id), done))
        }
    }
}

impl Buffer {
    /// # Safety
    /// A buffer of this client that is handed over, of this type, on this device.
    pub(super) unsafe fn new(client: &Client, buffer: *mut PJRT_Buffer, ty: TensorType, device: i32) -> Buffer {
        Buffer { client: client.clone(), buffer, ty, device, source: None }
    }

    /// Element type and sizes.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// The number of the device that it is on.
    pub fn device(&self) -> i32 {
        self.device
    }

    /// Its content's event: made, or failed to be.
    fn ready(&self) -> Result<Event> {
        let mut arguments = PJRT_Buffer_ReadyEvent_Args { buffer: self.buffer, ..Entry::new() };
        // SAFETY: the buffer is ours, and the event new.
        unsafe {
            self.client.table().call(&mut arguments)?;
            Ok(Event::new(self.client.table(), arguments.event))
        }
    }

    /// Whether its content is there.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn is_ready(&self) -> Result<bool> {
        self.ready()?.is_ready()
    }

    /// Waits until its content is there, and lets go of what was copied from the host.
    ///
    /// # Errors
    /// Why it could not be made.
    pub fn wait(&mut self) -> Result<()> {
        self.ready()?.wait()?;
        if let Some(source) = &self.source {
            source.done.wait()?;
        }
        self.source = None;
        Ok(())
    }

    /// Begins to copy the content to the host and returns at once.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the elements are of another type; [`Error::HostMemory`]; what the
    /// plugin says.
    pub fn fetch<T: Element>(&self) -> Result<Fetch<T>> {
        check_element::<T>(&self.ty)?;
        let no_memory = || Error::HostMemory { bytes: self.ty.bytes(), ty: self.ty.to_string() };
        let mut data: Vec<T> = vec![];
        data.try_reserve_exact(self.ty.elements()).map_err(|_| no_memory())?;
        data.resize(self.ty.elements(), T::default());

        let row_major: Vec<i64> = (0..self.ty.rank() as i64).rev().collect();
        let mut layout = PJRT_Buffer_MemoryLayout {
            struct_size: PJRT_Buffer_MemoryLayout_STRUCT_SIZE as usize,
            type_: PJRT_Buffer_MemoryLayout_Type_Tiled,
            ..Default::default()
        };
        layout.__bindgen_anon_1.tiled = PJRT_Buffer_MemoryLayout_Tiled {
            struct_size: PJRT_Buffer_MemoryLayout_Tiled_STRUCT_SIZE as usize,
            minor_to_major: row_major.as_ptr(),
            minor_to_major_size: row_major.len(),
            ..Default::default()
        };
        let mut arguments =
            PJRT_Buffer_ToHostBuffer_Args { src: self.buffer, host_layout: &raw mut layout, ..Entry::new() };
        // SAFETY: the buffer is ours. The first call asks for the size alone; the second is given
        // memory of that size, which stays until the copy is done; the layout stays until the call
        // is over.
        unsafe {
            self.client.table().call(&mut arguments)?;
            if arguments.dst_size != self.ty.bytes() {
                let problem = format!("the plugin has {} bytes for {}", arguments.dst_size, self.ty);
                return Err(Error::Mismatch(problem));
            }
            arguments.dst = data.as_mut_ptr().cast();
            arguments.event = ptr::null_mut();
            self.client.table().call(&mut arguments)?;
            let done = Event::new(self.client.table(), arguments.event);
            Ok(Fetch { data, done, _client: self.client.clone() })
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again; runs that use it hold it themselves.
        unsafe { self.client.table().destroy(&mut PJRT_Buffer_Destroy_Args { buffer: self.buffer, ..Entry::new() }) };
        if let Some(source) = self.source.take()
            && let Err(error) = source.done.wait()
        {
            // The copy is over, which is what matters here.
            log::debug!("{error}");
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer {} on device {}", self.ty, self.device)
    }
}

/// A copy to the host that is on its way.
#[must_use = "dropping it waits for the copy and throws it away"]
pub struct Fetch<T: Element> {
    /// Not to be read, moved or dropped before the copy is done.
    data: Vec<T>,
    done: Event,
    _client: Client,
}

impl<T: Element> Fetch<T> {
    /// Waits for the copy: the elements, row-major.
    ///
    /// # Errors
    /// Why the tensor could not be made or copied.
    pub fn wait(mut self) -> Result<Vec<T>> {
        self.done.wait()?;
        Ok(std::mem::take(&mut self.data))
    }
}

impl<T: Element> Drop for Fetch<T> {
    fn drop(&mut self) {
        // Also where it was awaited already: then it returns at once.
        if let Err(error) = self.done.wait() {
            log::debug!("{error}");
        }
    }
}

fn check_element<T: Element>(ty: &TensorType) -> Result<()> {
    if T::ELEMENT == ty.element {
        return Ok(());
    }
    Err(Error::Mismatch(format!("values of type {} for {ty}", T::ELEMENT)))
}
