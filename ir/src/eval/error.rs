//! Why an evaluation has no result.

use super::{Leaf, TensorError};
use crate::graph::{Path, of_module};
use crate::op::Op;
use crate::shape::Violation;
use crate::types::TensorType;
use crate::verify::VerifyError;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// The graph is not a program.
    #[error(transparent)]
    Graph(#[from] VerifyError),
    /// The caller gave no tensor for a leaf that an output needs, or one that does not fit.
    #[error("{mnemonic} \"{name}\"{}: {fault}", of_module(path))]
    Binding {
        /// The kind of leaf.
        mnemonic: &'static str,
        /// Its name.
        name: String,
        /// The module that declares it; may be empty.
        path: Path,
        /// What is wrong.
        fault: Box<BindingFault>,
    },
    /// A result does not fit memory.
    #[error("{mnemonic}{}: no memory for its result, {ty}", of_module(path))]
    Memory {
        /// The op.
        mnemonic: &'static str,
        /// The module it is for; empty for an op by itself.
        path: Path,
        /// The result's type.
        ty: TensorType,
    },
    /// Whoever watched asked to stop.
    #[error("stopped")]
    Stopped,
    /// An op by itself was given another number of operands.
    #[error("{mnemonic} has {expected} operands, {found} tensors were given")]
    OperandCount {
        /// The op.
        mnemonic: &'static str,
        /// How many it has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// An op by itself was given tensors that break a constraint.
    #[error("{mnemonic}: {violation}")]
    Constraint {
        /// The op.
        mnemonic: &'static str,
        /// Which.
        violation: Violation,
    },
    /// An op by itself was given a tensor whose data do not fill its type.
    #[error("{mnemonic}: operand {position}: {error}")]
    OperandData {
        /// The op.
        mnemonic: &'static str,
        /// Which operand, from 0.
        position: usize,
        /// What is wrong.
        error: TensorError,
    },
}

/// What is wrong with the tensor of a leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingFault {
    /// There is none.
    #[error("no tensor is bound; expected {expected}")]
    Missing {
        /// The type it should have.
        expected: TensorType,
    },
    /// It is of another type.
    #[error("expected {expected}, the bound tensor is {found}")]
    Type {
        /// The type it should have.
        expected: TensorType,
        /// The type it has.
        found: TensorType,
    },
    /// Its data do not fill its type.
    #[error(transparent)]
    Data(TensorError),
}

impl EvalError {
    pub(super) fn binding(op: &Op, leaf: &Leaf<'_>, path: &Path, fault: BindingFault) -> Self {
        Self::Binding {
            mnemonic: op.mnemonic(),
            name: leaf.name.to_owned(),
            path: path.clone(),
            fault: Box::new(fault),
        }
    }
}
