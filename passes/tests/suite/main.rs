//! The tests of this crate from outside: filetests, and random graphs through the pipeline and the buffer plan.

mod evaluation;
mod filetests;
mod properties;
