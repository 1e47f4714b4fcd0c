//! A tensor's name as a file spells it: its components, and which of them are wrappers.

use std::collections::HashSet;

/// Components that compilers and trainers put in front of any other; a name with them is the very
/// name without them.
pub(super) const WRAPPERS: [&str; 5] =
    ["_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module"];

/// The components of a name. Some programs separate them by slashes or colons.
pub(crate) fn components(name: &str) -> impl Iterator<Item = &str> {
    name.split(['.', '/', ':', '|']).filter(|component| !component.is_empty())
}

/// The components of a name.
pub(super) struct Spelling<'a> {
    all: Vec<&'a str>,
    /// The places of those that are no wrappers; the last is the tensor itself and never one.
    clean: Vec<usize>,
}

impl<'a> Spelling<'a> {
    /// `None` for a name without any component.
    pub(super) fn of(raw: &'a str) -> Option<Spelling<'a>> {
        let all: Vec<&str> = components(raw).collect();
        let last = all.len().checked_sub(1)?;
        let clean = (0..all.len()).filter(|place| *place == last || !WRAPPERS.contains(&all[*place])).collect();
        Some(Spelling { all, clean })
    }

    /// The ends of the name without wrappers, as places of components, the longest first.
    pub(super) fn ends(&self) -> impl Iterator<Item = &[usize]> {
        (0..self.clean.len()).map(|start| &self.clean[start..])
    }

    /// Those ends that begin with a known component, without all that are unknown; the last
    /// component stays.
    pub(super) fn ends_of(&self, known: &HashSet<&str>) -> impl Iterator<Item = Vec<usize>> {
        let is_known = |place: &usize| known.contains(self.all[*place]);
        let last = self.all.len() - 1;
        self.ends()
            .filter(move |end| is_known(&end[0]))
            .map(move |end| end.iter().copied().filter(|place| *place == last || is_known(place)).collect())
    }

    /// The components at these places as one name.
    pub(super) fn join(&self, places: &[usize]) -> String {
        places.iter().map(|place| self.all[*place]).collect::<Vec<_>>().join(".")
    }

    /// What stands in front of the component at `first`, without wrappers.
    pub(super) fn in_front(&self, first: usize) -> String {
        let places: Vec<usize> = self.clean.iter().copied().take_while(|place| *place < first).collect();
        self.join(&places)
    }

    /// What is passed over where only the components at these places are kept: wrappers in front,
    /// and all behind the first.
    pub(super) fn passed_over(&self, kept: &[usize]) -> Vec<&'a str> {
        let is_passed_over = |place: &usize| !kept.contains(place) && (*place > kept[0] || !self.clean.contains(place));
        (0..self.all.len()).filter(is_passed_over).map(|place| self.all[place]).collect()
    }
}
