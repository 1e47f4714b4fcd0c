//! [`Element`]: what activations and states are made of in memory.
//!
//! Sums are in f32 or wider whatever that is. A result is rounded once, to nearest with ties to
//! even, where it is stored; NaN stays NaN. Emitted code does that in `codegen::emitter`, panels
//! with their own vector operations.

use ir::ElementType;

/// An element type that kernels read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE 754 binary32.
    F32,
    /// Its upper half.
    Bf16,
}

impl Element {
    /// Every element.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The element of tensors of this type; `None` if no kernel has it.
    pub const fn of(ty: ElementType) -> Option<Self> {
        match ty {
            ElementType::F32 => Some(Self::F32),
            ElementType::Bf16 => Some(Self::Bf16),
            ElementType::F16 | ElementType::I8 | ElementType::I32 => None,
        }
    }

    /// Bytes of one.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Whether a result of such elements can hold sums that are not whole yet: others would be
    /// rounded on the way.
    pub const fn holds_sums(self) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => false,
        }
    }

    /// How many a 32-bit word holds: what panels take in one step of k.
    pub const fn per_word(self) -> usize {
        size_of::<f32>() / self.bytes()
    }

    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// What a kernel's name in listings ends with; f32 goes without saying.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "",
            Self::Bf16 => "_bf16",
        }
    }
}
