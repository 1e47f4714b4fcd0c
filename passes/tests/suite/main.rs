//! Filetests of every pass. What random graphs say of passes, of the pipeline and of the buffer
//! plan is in package `tests`.

#[path = "../../../tests/src/evaluation.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of package `tests`, which stands on this one")]
mod evaluation;
mod filetests;
