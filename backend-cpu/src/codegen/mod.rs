//! Cranelift code for kernels.
//!
//! - this file: compiling a kernel to a function of a module, and which file emits which kernel;
//! - `emitter`: loops, strips of vectors, index arithmetic: what all kernels are written with;
//! - `panels`: calling panels;
//! - `pointwise`, `gather`, `norm`, `channel_norm`, `pool`, `convolution`, `grouped_convolution`,
//!   `attention`, `linear_attention`: one kind of kernel each; `winograd` is the part of a convolution that works on
//!   transforms.
//!
//! Emitted code addresses memory through its arguments alone and calls nothing but what is in
//! `panel`, `memcpy` and `memset`. It never reads or writes outside the extents that its [`Kernel`]
//! describes.

mod attention;
mod channel_norm;
mod convolution;
mod emitter;
mod gather;
mod grouped_convolution;
mod linear_attention;
mod norm;
mod panels;
mod pointwise;
mod pool;
mod winograd;

use cranelift_codegen::ir::{AbiParam, Signature, types};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_module::{FuncId, Linkage, Module, ModuleError};

use crate::isa::Isa;
use crate::kernel::Kernel;

use emitter::Emitter;
pub(crate) use panels::panel_symbol;

/// A result of Cranelift's, whose errors are large.
pub(crate) type Result<T> = std::result::Result<T, Box<ModuleError>>;

/// The signature of every kernel: arguments, scratch, block.
pub(crate) fn signature(config: TargetFrontendConfig) -> Signature {
    let mut signature = Signature::new(config.default_call_conv);
    signature.params.extend([types::I64; 3].map(AbiParam::new));
    signature
}

/// A compiled kernel, still in its module.
pub(crate) struct Emitted {
    /// The function.
    pub id: FuncId,
    /// Its CLIF, as emitted.
    pub clif: String,
    /// Its machine code as Cranelift prints it.
    pub assembly: String,
}

/// Compiles `kernel` into `module` under `name`; the texts are empty unless `listing` asks for
/// them.
pub(crate) fn emit(module: &mut impl Module, isa: Isa, name: &str, kernel: &Kernel, listing: bool) -> Result<Emitted> {
    let signature = signature(module.target_config());
    let id = module.declare_function(name, Linkage::Local, &signature)?;
    let mut context = module.make_context();
    context.func.signature = signature;
    context.set_disasm(listing);
    {
        let mut frontend = cranelift_frontend::FunctionBuilderContext::new();
        let mut emitter = Emitter::new(&mut context.func, &mut frontend, module);
        match kernel {
            Kernel::Gather(gather) => gather::emit(&mut emitter, gather),
            Kernel::Pointwise(p) => pointwise::emit(&mut emitter, *p)?,
            Kernel::Convert { elements, from, to } => pointwise::emit_convert(&mut emitter, *elements, *from, *to),
            Kernel::AddBias { element, pixels, channels } => {
                pointwise::emit_add_bias(&mut emitter, *pixels, *channels, *element);
            }
            Kernel::AveragePool(pool) => pool::emit(&mut emitter, *pool),
            Kernel::ChannelSums { element, lines } => norm::emit_channel_sums(&mut emitter, *lines, *element),
            Kernel::GroupStatistics { sums, groups, epsilon } => {
                norm::emit_group_statistics(&mut emitter, *sums, *groups, f64::from_bits(*epsilon));
            }
            Kernel::Normalize(normalize) => norm::emit_normalize(&mut emitter, isa, *normalize)?,
            Kernel::ChannelNorm(norm) => channel_norm::emit(&mut emitter, isa, *norm)?,
            Kernel::GroupedConvolution(c) => grouped_convolution::emit(&mut emitter, c),
            Kernel::Convolution(c) => convolution::emit(&mut emitter, isa, name, c)?,
            Kernel::PackKeys(a) => attention::emit_pack_keys(&mut emitter, a),
            Kernel::PackValues(a) => attention::emit_pack_values(&mut emitter, a),
            Kernel::Attention(a) => attention::emit(&mut emitter, isa, name, a)?,
            Kernel::LinearAttentionSums(a) => linear_attention::emit_sums(&mut emitter, a),
            Kernel::LinearAttention(a) => linear_attention::emit(&mut emitter, a),
        }
        emitter.finish();
    }
    let clif = if listing { context.func.display().to_string() } else { String::new() };
    module.define_function(id, &mut context)?;
    let assembly = match context.compiled_code() {
        Some(code) if listing => code.vcode.clone().unwrap_or_default(),
        _ => String::new(),
    };
    Ok(Emitted { id, clif, assembly })
}
