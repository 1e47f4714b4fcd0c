//! What code is made for: an instruction set, and what is chosen because of the CPU that has it.
//! The knobs that override both.
//!
//! Every choice that depends on the CPU stands here, as a value, so that each can be had, and
//! tested, on any CPU that has the instructions. Which instruction sets there are, and how they are
//! told, is in [`crate::isa`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::isa::{ISA_VARIABLE, Isa, IsaError};

/// The environment variable that overrides what is assumed of dot products of bf16: `absent`,
/// `slow` or `fast`.
pub const DOT_PRODUCTS_VARIABLE: &str = ir::knobs::DOT_PRODUCTS.name;

/// Dot products of bf16: sums in f32 of the products of neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DotProducts {
    /// There are none, or they are left alone.
    Absent,
    /// There are, and they multiply fewer numbers a second than multiply-adds of f32 do.
    Slow,
    /// They multiply twice as many.
    Fast,
}

/// What code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The instruction set of its kernels.
    pub isa: Isa,
    /// What convolutions in bf16 may be multiplied with; other than [`DotProducts::Absent`] only
    /// where the CPU has them beside this instruction set ([`Isa::has_dot_products`]).
    pub dot_products: DotProducts,
}

/// Why the target asked for by the environment cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Its instruction set.
    #[error("{ISA_VARIABLE}: {0}")]
    Isa(#[from] IsaError),
    /// Its dot products have an unknown name.
    #[error("{DOT_PRODUCTS_VARIABLE}: unknown value `{value}`; known are absent, slow, fast")]
    UnknownDotProducts {
        /// What was given instead of a name.
        value: String,
    },
    /// There are no dot products.
    #[error(
        "{DOT_PRODUCTS_VARIABLE}: this CPU has no dot products of bf16 beside {isa}; leave it unset, or set it to \
         absent"
    )]
    NoDotProducts {
        /// The instruction set of the target.
        isa: Isa,
    },
}

impl DotProducts {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Absent, Self::Slow, Self::Fast];

    /// The name that [`FromStr`] reads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Slow => "slow",
            Self::Fast => "fast",
        }
    }

    /// Those that this CPU has beside `isa`: AVX512-BF16.
    ///
    /// Fast or slow is by the maker, not timed, so that every run on a machine chooses alike.
    /// Intel's run one of these instructions in the time of three to four multiply-adds
    /// (measured: 0.56 of f32's products a second), AMD's since Zen 4 one in the time of one
    /// (measured on Zen 4: see ARCHITECTURE.md).
    fn probe(isa: Isa) -> Self {
        match isa.has_dot_products() {
            true if is_made_by_amd() => Self::Fast,
            true => Self::Slow,
            false => Self::Absent,
        }
    }
}

fn is_made_by_amd() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let maker = std::arch::x86_64::__cpuid(0);
        [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl FromStr for DotProducts {
    type Err = TargetError;

    fn from_str(name: &str) -> Result<Self, TargetError> {
        let named = Self::ALL.into_iter().find(|dot_products| dot_products.name() == name);
        named.ok_or_else(|| TargetError::UnknownDotProducts { value: name.to_owned() })
    }
}

impl Target {
    /// Every target that this CPU can run, best instruction set first: each with whatever may be
    /// assumed of its dot products.
    pub fn supported() -> Vec<Self> {
        let of = |isa: Isa| {
            let possible = if isa.has_dot_products() { &DotProducts::ALL[..] } else { &[DotProducts::Absent] };
            possible.iter().map(move |&dot_products| Self { isa, dot_products })
        };
        Isa::supported().into_iter().flat_map(of).collect()
    }

    /// What the environment asks for; where it asks for nothing, the best instruction set of this
    /// CPU and what is known of its dot products.
    ///
    /// # Errors
    /// A variable holds an unknown name, or names what this CPU lacks.
    pub fn from_env_or_probe() -> Result<Self, TargetError> {
        let isa = Isa::from_env_or_probe()?;
        match ir::knobs::DOT_PRODUCTS.get() {
            Some(value) => Self::checked(isa, value.to_string_lossy().parse()?),
            None => Ok(isa.into()),
        }
    }

    /// The target of an instruction set with these dot products, if the CPU has them.
    fn checked(isa: Isa, dot_products: DotProducts) -> Result<Self, TargetError> {
        match dot_products {
            DotProducts::Slow | DotProducts::Fast if !isa.has_dot_products() => Err(TargetError::NoDotProducts { isa }),
            _ => Ok(Self { isa, dot_products }),
        }
    }
}

impl From<Isa> for Target {
    /// The instruction set with the dot products that this CPU has beside it, as they are.
    fn from(isa: Isa) -> Self {
        Self { isa, dot_products: DotProducts::probe(isa) }
    }
}

impl fmt::Display for Target {
    /// `avx2`, or `avx512 with fast dot products of bf16`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dot_products {
            DotProducts::Absent => write!(f, "{}", self.isa),
            some => write!(f, "{} with {} dot products of bf16", self.isa, some.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for dot_products in DotProducts::ALL {
            assert_eq!(dot_products.name().parse(), Ok(dot_products));
        }
        let message = "quick".parse::<DotProducts>().unwrap_err().to_string();
        for part in ["TESSERA_DOT_PRODUCTS", "quick", "absent", "slow", "fast"] {
            assert!(message.contains(part), "`{part}` is not in `{message}`");
        }
    }

    #[test]
    fn what_the_cpu_lacks_is_refused_and_the_rest_is_supported() {
        for isa in Isa::supported() {
            for dot_products in DotProducts::ALL {
                let checked = Target::checked(isa, dot_products);
                let can = dot_products == DotProducts::Absent || isa.has_dot_products();
                assert_eq!(checked.is_ok(), can, "{isa}, {dot_products:?}");
                assert_eq!(Target::supported().contains(&Target { isa, dot_products }), can);
            }
            assert!(Target::supported().contains(&isa.into()), "what is probed is supported");
        }
        let message = TargetError::NoDotProducts { isa: Isa::Portable }.to_string();
        assert!(message.contains("TESSERA_DOT_PRODUCTS") && message.contains("portable"), "{message}");
    }
}
