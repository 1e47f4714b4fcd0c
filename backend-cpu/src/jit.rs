//! Executable memory: kernels compiled by Cranelift, ready to be called.
//!
//! Memory is writable while code is written to it and executable after that, never both at once:
//! Cranelift's JIT module maps it writable and changes the protection when it is finalized.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_jit::{JITBuilder, JITModule};

use crate::codegen::{self, panel_symbol};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::panel::{PanelFamily, softmax, unary};

/// A compiled kernel: `kernel(arguments, scratch, block)`.
pub(crate) type KernelFn = unsafe extern "C" fn(arguments: *const *mut u8, scratch: *mut u8, block: usize);

/// Cranelift could not make code of a kernel: a fault of this backend, not of its user.
#[derive(Debug, thiserror::Error)]
#[error("compiling kernel {kernel} failed: {message}")]
pub struct CodegenError {
    /// Which kernel.
    pub kernel: String,
    /// What Cranelift says.
    pub message: String,
}

/// The texts of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The kernel's name.
    pub name: String,
    /// Cranelift's intermediate form.
    pub clif: String,
    /// Machine code.
    pub assembly: String,
}

/// Compiled kernels and the memory that holds them.
pub(crate) struct Code {
    functions: Vec<KernelFn>,
    module: ManuallyDrop<JITModule>,
}

// SAFETY: after `compile` nothing of the module is used but its memory, which is read-only and
// executable; dropping it from another thread unmaps that memory.
unsafe impl Send for Code {}
// SAFETY: as above: shared access only reads the list of functions.
unsafe impl Sync for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: taken once, here. No function of the module runs any more: callers borrow `Code`
        // while they run one.
        unsafe { ManuallyDrop::take(&mut self.module).free_memory() }
    }
}

impl Code {
    /// Compiles every kernel.
    pub(crate) fn compile(kernels: &[Kernel], isa: Isa) -> Result<Self, CodegenError> {
        let mut builder = JITBuilder::with_isa(target(isa), cranelift_module::default_libcall_names());
        for family in PanelFamily::all(isa) {
            for rows in 1..=family.max_rows() {
                builder.symbol(panel_symbol(family, rows), family.panel(rows) as *const u8);
            }
        }
        if let Some(row) = isa.row() {
            let normalizations = row.normalizations.iter().map(|(form, f)| (form.symbol(isa), *f as *const u8));
            builder.symbol(softmax::symbol(isa), row.softmax as *const u8);
            let channel_norms = row.channel_norms.iter().map(|(form, f)| (form.symbol(isa), *f as *const u8));
            row.transforms.symbols(isa).into_iter().chain(normalizations).chain(channel_norms).for_each(
                |(symbol, address)| {
                    builder.symbol(symbol, address);
                },
            );
        }
        for (symbol, function) in unary::symbols() {
            builder.symbol(symbol, function as *const u8);
        }
        let mut module = JITModule::new(builder);
        let emitted = emit_all(&mut module, kernels, isa, false)?;
        let whole = |message: String| CodegenError { kernel: "(all)".to_owned(), message };
        module.finalize_definitions().map_err(|e| whole(e.to_string()))?;
        let functions = emitted
            .into_iter()
            .map(|emitted| {
                let code = module.get_finalized_function(emitted.id);
                // SAFETY: `code` is the entry of a function that was just compiled with exactly
                // this signature (`codegen::signature`), in the calling convention of the host.
                unsafe { std::mem::transmute::<*const u8, KernelFn>(code) }
            })
            .collect();
        Ok(Self { functions, module: ManuallyDrop::new(module) })
    }

    pub(crate) fn function(&self, kernel: usize) -> KernelFn {
        self.functions[kernel]
    }
}

/// The CLIF and the assembly of every kernel.
///
/// # Errors
/// When Cranelift refuses a kernel.
pub(crate) fn listings(kernels: &[Kernel], isa: Isa) -> Result<Vec<Listing>, CodegenError> {
    let mut module = JITModule::new(JITBuilder::with_isa(target(isa), cranelift_module::default_libcall_names()));
    let emitted = emit_all(&mut module, kernels, isa, true)?;
    let listings = emitted.into_iter().zip(kernels).enumerate().map(|(index, (emitted, kernel))| Listing {
        name: symbol(index, kernel),
        clif: emitted.clif,
        assembly: emitted.assembly,
    });
    let listings = listings.collect();
    // SAFETY: none of the module's functions was ever taken.
    unsafe { module.free_memory() };
    Ok(listings)
}

/// A name that no other kernel of the program has.
fn symbol(index: usize, kernel: &Kernel) -> String {
    format!("k{index}_{kernel}")
}

fn emit_all(
    module: &mut JITModule,
    kernels: &[Kernel],
    isa: Isa,
    listing: bool,
) -> Result<Vec<codegen::Emitted>, CodegenError> {
    let emit = |(index, kernel): (usize, &Kernel)| {
        let name = symbol(index, kernel);
        codegen::emit(module, isa, &name, kernel, listing)
            .map_err(|e| CodegenError { kernel: name, message: format!("{e:?}") })
    };
    kernels.iter().enumerate().map(emit).collect()
}

/// The host, with the instructions that every CPU of `isa` has.
fn target(isa: Isa) -> Arc<dyn TargetIsa> {
    let mut flags = settings::builder();
    let mut set = |name: &str, value: &str| flags.set(name, value).expect("a setting of Cranelift's");
    set("opt_level", "speed");
    set("is_pic", "false");
    set("use_colocated_libcalls", "false");
    set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" });
    let mut target =
        cranelift_codegen::isa::lookup(target_lexicon::Triple::host()).expect("Cranelift is built for the host");
    for feature in isa.row().into_iter().flat_map(|row| row.cranelift_features) {
        target.set(feature, "true").expect("a feature of Cranelift's target");
    }
    target.finish(settings::Flags::new(flags)).expect("the settings agree")
}
