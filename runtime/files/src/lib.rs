//! Files as such: tensors in files, small texts that other programs wrote, and outputs that appear
//! whole or not at all.
//!
//! | module | what lives there |
//! |---|---|
//! | [`tensor_file`] | the tensors of a file, mapped into memory: safetensors, PyTorch's, NumPy's |
//! | [`npy_header`] | the header of an `.npy`, read |
//! | [`array_file`] | headers of `.safetensors` and `.npy`, and values, written |
//! | [`text_file`], [`foreign`] | JSON as it comes; what a file is that is not what it should be |
//! | [`fragment`] | `FILE#PART` |
//! | [`place`] | what the path of an output stands for |
//! | [`staging`], `leftover` | files and folders that appear whole or not at all; what killed processes left of theirs |
//! | [`spill`] | tensors put aside in a temporary file |
//! | [`file_lock`] | locks, and what is done where there are none |
//! | [`error`] | the one error type |
//!
//! Nothing here knows a model, what a tensor means, or frames: those are packages `runtime` and
//! `media`.

pub mod array_file;
pub mod error;
pub mod file_lock;
pub mod foreign;
pub mod fragment;
mod leftover;
pub mod npy_header;
pub mod place;
pub mod spill;
pub mod staging;
pub mod tensor_file;
pub mod text_file;

pub use error::{Error, Result};
