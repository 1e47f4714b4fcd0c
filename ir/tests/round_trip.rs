//! Placeholder.
use proptest as _;
