//! Instruction sets: which ones the kernels know, which one this CPU can run, and the knob that
//! overrides the choice.
//!
//! The kernels themselves are in [`crate::panel`]; nothing here runs SIMD code. What else is chosen
//! because of the CPU is in [`crate::target`].

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

use crate::panel::{self, InstructionSet};

/// The environment variable that overrides the probe: `avx512`, `avx2` or `portable`.
///
/// Unset or empty means: the best instruction set that the CPU offers. It exists so that every path
/// of the kernels can be tested, and timed, on any machine that has it.
pub const ISA_VARIABLE: &str = ir::knobs::ISA.name;

/// Declares the instruction sets, best first: one row for each, and where what is known of it
/// stands.
macro_rules! instruction_sets {
    ($($(#[doc = $doc:literal])+ $(@$arch:literal)? $Variant:ident = $name:literal in $module:ident;)+) => {
        /// An instruction set for which kernels exist, best first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Isa {
            $($(#[doc = $doc])+ $Variant),+
        }

        impl Isa {
            /// Every instruction set, best first.
            pub const ALL: [Isa; [$($name),+].len()] = [$(Isa::$Variant),+];

            /// The name that [`Display`](fmt::Display) prints and [`FromStr`] reads.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Isa::$Variant => $name),+
                }
            }

            /// What is known of it; none if the crate was compiled for another architecture.
            pub(crate) fn row(self) -> Option<&'static InstructionSet> {
                match self {
                    $($(#[cfg(target_arch = $arch)])? Isa::$Variant => Some(&panel::$module::INSTRUCTION_SET),)+
                    #[allow(unreachable_patterns, reason = "on the architecture that has them all")]
                    _ => None,
                }
            }
        }
    };
}

instruction_sets! {
    /// x86-64 with AVX-512 F, VL, BW and DQ: 16 f32 lanes, 32 vector registers.
    @"x86_64" Avx512 = "avx512" in avx512;
    /// x86-64 with AVX2 and FMA: 8 f32 lanes, 16 vector registers.
    @"x86_64" Avx2 = "avx2" in avx2;
    /// Plain Rust for whatever the crate was compiled for.
    Portable = "portable" in portable;
}

/// Why the instruction set asked for by [`ISA_VARIABLE`] cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IsaError {
    /// No instruction set has this name.
    #[error("unknown instruction set `{value}`; known are {}", Isa::names(&Isa::ALL))]
    Unknown {
        /// What was given instead of a name.
        value: String,
    },
    /// The name is known, but the CPU cannot run it.
    #[error("this CPU cannot run {isa}; it can run {}", Isa::names(&Isa::supported()))]
    Unsupported {
        /// What was asked for.
        isa: Isa,
    },
}

impl Isa {
    /// Whether this CPU, under this operating system, can run it.
    pub fn is_supported(self) -> bool {
        self.row().is_some_and(|row| (row.is_supported)())
    }

    /// Whether this CPU has dot products of bf16 beside this instruction set.
    pub fn has_dot_products(self) -> bool {
        let dot_products = self.row().and_then(|row| row.dot_products.as_ref());
        self.is_supported() && dot_products.is_some_and(|dot_products| (dot_products.is_supported)())
    }

    /// Every instruction set that this CPU can run, best first; never empty.
    pub fn supported() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_supported()).collect()
    }

    /// The best instruction set that this CPU can run; asked of the CPU once.
    pub fn probe() -> Isa {
        static PROBED: OnceLock<Isa> = OnceLock::new();
        *PROBED.get_or_init(|| Isa::ALL.into_iter().find(|isa| isa.is_supported()).unwrap_or(Isa::Portable))
    }

    /// What [`ISA_VARIABLE`] asks for, or else the best that this CPU can run.
    ///
    /// # Errors
    ///
    /// The variable holds an unknown name, or names an instruction set that this CPU lacks.
    pub fn from_env_or_probe() -> Result<Isa, IsaError> {
        match ir::knobs::ISA.get() {
            Some(value) => Isa::parse_supported(&value.to_string_lossy()),
            None => Ok(Isa::probe()),
        }
    }

    /// The instruction set of this name, if this CPU can run it.
    fn parse_supported(name: &str) -> Result<Isa, IsaError> {
        let isa: Isa = name.parse()?;
        if isa.is_supported() { Ok(isa) } else { Err(IsaError::Unsupported { isa }) }
    }

    fn names(list: &[Isa]) -> String {
        list.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Isa, IsaError> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| IsaError::Unknown { value: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = "sse9".parse::<Isa>().unwrap_err().to_string();
        for part in ["sse9", "avx512", "avx2", "portable"] {
            assert!(message.contains(part), "`{part}` is not in `{message}`");
        }
    }

    #[test]
    fn what_the_cpu_lacks_is_refused_and_the_rest_is_not() {
        for isa in Isa::ALL {
            let expected = if isa.is_supported() { Ok(isa) } else { Err(IsaError::Unsupported { isa }) };
            assert_eq!(Isa::parse_supported(isa.name()), expected);
        }
        let message = IsaError::Unsupported { isa: Isa::Avx512 }.to_string();
        assert!(message.contains("avx512") && message.contains("portable"), "{message}");
    }

    #[test]
    fn the_probe_finds_the_best_supported() {
        assert_eq!(Isa::probe(), Isa::supported()[0]);
        assert_eq!(Isa::supported().last(), Some(&Isa::Portable));
    }
}
