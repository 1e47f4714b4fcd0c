//! Something that a plugin is doing, and how it ends.

use super::bindings::*;
use super::error::Result;
use super::table::{Entry, Table};

/// Work under way.
pub(super) struct Event {
    table: Table,
    /// Null where there is nothing to wait for.
    event: *mut PJRT_Event,
}

// SAFETY: events may be awaited and destroyed on any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// # Safety
    /// Null, or an event that the plugin handed over.
    pub(super) unsafe fn new(table: Table, event: *mut PJRT_Event) -> Event {
        Event { table, event }
    }

    /// Whether the work is done, or has failed.
    pub(super) fn is_ready(&self) -> Result<bool> {
        if self.event.is_null() {
            return Ok(true);
        }
        let mut arguments = PJRT_Event_IsReady_Args { event: self.event, ..Entry::new() };
        // SAFETY: the event is ours.
        unsafe { self.table.call(&mut arguments)? };
        Ok(arguments.is_ready)
    }

    /// Waits until the work is done.
    ///
    /// # Errors
    /// How it failed.
    pub(super) fn wait(&self) -> Result<()> {
        if self.event.is_null() {
            return Ok(());
        }
        // SAFETY: the event is ours.
        unsafe { self.table.call(&mut PJRT_Event_Await_Args { event: self.event, ..Entry::new() }) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.event.is_null() {
            // SAFETY: the event is ours, and this is its end.
            unsafe { self.table.destroy(&mut PJRT_Event_Destroy_Args { event: self.event, ..Entry::new() }) };
        }
    }
}
