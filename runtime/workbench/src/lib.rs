//! What is done with a model beside decoding and encoding: two runs compared module by module,
//! single steps timed call by call, the steps of a video compiled for a device that need not be
//! there.
//!
//! | module | what lives there |
//! |---|---|
//! | [`verification`], [`comparison`], [`error_plot`] | two runs compared, module by module; how far apart they are, as rows and drawn |
//! | [`recording`], [`tap_file`] | activations of a run, kept; and in files |
//! | [`profile`], [`roofline`], [`loaded_weights`] | single steps timed call by call, drawn, on weights that need not exist |
//! | [`ahead_of_time`] | the steps of a video compiled ahead of time; what they need and cost |
//! | [`programs`] | what was compiled, in files and as a report |
//! | [`svg_file`] | a file for a picture |
//! | [`error`] | what goes wrong here beside what package `tessera` reports |
//!
//! Running models is package [`tessera`]; what is typed, and printed, is package `runtime`.

pub mod ahead_of_time;
pub mod comparison;
pub mod error;
pub mod error_plot;
pub mod loaded_weights;
pub mod profile;
pub mod programs;
pub mod recording;
pub mod roofline;
pub mod svg_file;
pub mod tap_file;
pub mod verification;

pub use error::{Error, Result};
