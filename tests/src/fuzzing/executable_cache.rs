//! Entries of the cache of compiled programs: what is not whole is no entry.

use backend_tpu_stablehlo::pjrt::cache::{head, program_of};

/// Takes `bytes` for an entry, and for a program of which an entry is made and damaged.
///
/// # Panics
/// When a program comes out that did not go in.
pub fn run(bytes: &[u8]) {
    if let Some(program) = program_of(bytes) {
        assert!([&head(program), program].concat() == bytes, "an entry that nobody wrote");
    }
    let entry = [&head(bytes), bytes].concat();
    assert!(program_of(&entry) == Some(bytes), "an entry is not what it was made of");

    // The first bytes say where the damage is.
    let place = bytes.iter().take(4).fold(0, |place, &byte| place << 8 | usize::from(byte));
    let at = place % entry.len();
    let mut damaged = entry.clone();
    damaged[at] ^= 1 << (place % 8);
    assert!(program_of(&damaged).is_none(), "a changed byte at {at} is not found");
    assert!(program_of(&entry[..at]).is_none(), "an end at {at} is not found");
    damaged.clone_from(&entry);
    damaged.push(0);
    assert!(program_of(&damaged).is_none(), "a byte too many is not found");
}
