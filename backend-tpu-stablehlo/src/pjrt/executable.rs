//! A compiled program that is not loaded: what it needs, what it costs, and its bytes.

use ir::TensorType;
use serde::{Deserialize, Serialize};

use super::bindings::*;
use super::error::{Error, Result};
use super::named_value::{self, Attributes, NamedValue};
use super::signature::element_type;
use super::table::{Entry, Table, list};

/// A compiled program.
pub struct Executable {
    table: Table,
    executable: *mut PJRT_Executable,
}

// SAFETY: an executable is never changed, and may be used on any thread.
unsafe impl Send for Executable {}
// SAFETY: as above.
unsafe impl Sync for Executable {}

/// Memory on each device that a program needs, in bytes, as its compiler planned it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStatistics {
    /// Machine code and constants.
    pub code: u64,
    /// Arguments.
    pub arguments: u64,
    /// Results, those included that are written over arguments.
    pub results: u64,
    /// Results that are written over arguments.
    pub aliased: u64,
    /// Intermediate values.
    pub temporaries: u64,
    /// The most that is live at once, by the compiler's count; 0 where it does not say.
    pub peak: u64,
}

impl MemoryStatistics {
    /// What a device must have: arguments, results and temporaries, each allocated as a whole. The
    /// compiler's peak is of what is live and may be less, since memory between what is live is
    /// not used.
    pub fn total(&self) -> u64 {
        let parts = self.arguments + self.results.saturating_sub(self.aliased) + self.temporaries + self.code;
        parts.max(self.peak)
    }
}

/// What a compiler expects a run to cost on each device. Plugins leave out what they do not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CostAnalysis {
    /// Floating-point operations.
    pub flops: Option<f64>,
    /// Bytes read and written in the device's memory.
    pub bytes_accessed: Option<f64>,
    /// Seconds, at best. Some compilers give nonsense for large programs.
    pub optimal_seconds: Option<f64>,
}

impl Executable {
    /// # Safety
    /// An executable of this plugin that is handed over.
    pub(super) unsafe fn new(table: Table, executable: *mut PJRT_Executable) -> Executable {
        Executable { table, executable }
    }

    /// The types of what it returns on each device.
    ///
    /// # Errors
    /// What the plugin says; [`Error::Mismatch`] for an element type that the IR does not have.
    pub fn results(&self) -> Result<Vec<TensorType>> {
        let executable = self.executable;
        let mut count = PJRT_Executable_NumOutputs_Args { executable, ..Entry::new() };
        let mut elements = PJRT_Executable_OutputElementTypes_Args { executable, ..Entry::new() };
        let mut sizes = PJRT_Executable_OutputDimensions_Args { executable, ..Entry::new() };
        // SAFETY: the executable is ours; its lists live as long, and are copied. Of sizes there
        // are as many as the ranks add up to.
        let (elements, ranks, sizes) = unsafe {
            self.table.call(&mut count)?;
            self.table.call(&mut elements)?;
            self.table.call(&mut sizes)?;
            let ranks = list(sizes.dim_sizes, sizes.num_outputs);
            (list(elements.output_types, elements.num_output_types), ranks, list(sizes.dims, ranks.iter().sum()))
        };
        if elements.len() != count.num_outputs || ranks.len() != count.num_outputs {
            return Err(Error::Mismatch("the plugin contradicts itself about the number of results".into()));
        }
        let mut rest = sizes;
        let mut one = |(&element, &rank): (&PJRT_Buffer_Type, &usize)| {
            let (sizes, others) = rest.split_at(rank);
            rest = others;
            let element = element_type(element)
                .ok_or_else(|| Error::Mismatch(format!("a result has the element type number {element} of PJRT")))?;
            Ok(TensorType::plain(element, sizes.iter().map(|&size| size as usize)))
        };
        elements.iter().zip(ranks).map(&mut one).collect()
    }

    /// What memory it needs.
    ///
    /// # Errors
    /// Unimplemented, where the plugin does not tell.
    pub fn memory(&self) -> Result<MemoryStatistics> {
        let mut found = PJRT_Executable_GetCompiledMemoryStats_Args { executable: self.executable, ..Entry::new() };
        let mut code = PJRT_Executable_SizeOfGeneratedCodeInBytes_Args { executable: self.executable, ..Entry::new() };
        // SAFETY: the executable is ours.
        unsafe {
            self.table.call(&mut found)?;
            // Some plugins have the one, some the other.
            if self.table.call(&mut code).is_err() {
                code.size_in_bytes = 0;
            }
        }
        let bytes = |bytes: i64| bytes.max(0) as u64;
        Ok(MemoryStatistics {
            code: bytes(found.generated_code_size_in_bytes.max(code.size_in_bytes)),
            arguments: bytes(found.argument_size_in_bytes),
            results: bytes(found.output_size_in_bytes),
            aliased: bytes(found.alias_size_in_bytes),
            temporaries: bytes(found.temp_size_in_bytes),
            peak: bytes(found.peak_memory_in_bytes),
        })
    }

    /// Everything that the compiler says about the cost of a run, by its own names.
    ///
    /// # Errors
    /// Unimplemented, where the plugin does not tell; CPU plugins do not.
    pub fn properties(&self) -> Result<Attributes> {
        let mut found = PJRT_Executable_GetCostAnalysis_Args { executable: self.executable, ..Entry::new() };
        // SAFETY: the executable is ours; its properties live as long, and are copied.
        unsafe {
            self.table.call(&mut found)?;
            Ok(named_value::read(found.properties, found.num_properties))
        }
    }

    /// What the compiler expects a run to cost.
    ///
    /// # Errors
    /// As [`Self::properties`].
    pub fn cost(&self) -> Result<CostAnalysis> {
        let properties = self.properties()?;
        let number = |name: &str| properties.get(name).and_then(NamedValue::number);
        Ok(CostAnalysis {
            flops: number("flops"),
            bytes_accessed: number("bytes accessed"),
            optimal_seconds: number("optimal_seconds"),
        })
    }

    /// Its bytes, for [`super::Client::load`].
    ///
    /// # Errors
    /// What the plugin says.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        let mut found = PJRT_Executable_Serialize_Args { executable: self.executable, ..Entry::new() };
        // SAFETY: the executable is ours; the bytes live until their deleter is called, once, and
        // are copied.
        unsafe {
            self.table.call(&mut found)?;
            let bytes = list(found.serialized_bytes.cast::<u8>(), found.serialized_bytes_size).to_vec();
            if let Some(delete) = found.serialized_executable_deleter {
                delete(found.serialized_executable);
            }
            Ok(bytes)
        }
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe {
            self.table.destroy(&mut PJRT_Executable_Destroy_Args { executable: self.executable, ..Entry::new() });
        }
    }
}
