//! Looking into steps while they run: whether every value is a number, and a timeline.

use crate::timeline::Timeline;

/// What to look at. By default nothing, which costs nothing.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Inspection {
    /// Whether a value that is not a number stops the run, with
    /// [`crate::Error::NonFiniteActivation`].
    pub check_finite: bool,
    /// Where to note when what ran.
    pub timeline: Option<Timeline>,
}

impl Inspection {
    /// Sets [`Self::check_finite`].
    #[must_use]
    pub fn with_check_finite(self, check_finite: bool) -> Self {
        Self { check_finite, ..self }
    }

    /// Sets [`Self::timeline`].
    #[must_use]
    pub fn with_timeline(self, timeline: impl Into<Option<Timeline>>) -> Self {
        Self { timeline: timeline.into(), ..self }
    }
}
