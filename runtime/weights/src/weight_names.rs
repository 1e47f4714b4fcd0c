//! Which tensors of a checkpoint are the model's, found by what their names and the expected ones
//! have in common.
//!
//! Trainers, compilers and pipelines put a model's tensors under names of their own: in front of
//! them (`first_stage_model.decoder.conv_in.weight`, `state_dict.module.vae.decoder...`), or in
//! their midst (`decoder._fsdp_wrapped_module.conv_in.weight`). So an expected name is looked for
//! at the end of each name; components that no expected name has are passed over. What stands in
//! front is the *prefix*; under one prefix the tensors are of one model. The prefix under which a
//! half of the model is whole, in the right shapes, is taken; several are refused, unless one of
//! them is no prefix at all.
//!
//! Names that say the same in other words (`up.3.block.0` for `up_blocks.0.resnets.0`) are a
//! *dialect*, which the caller knows: see [`Dialect`]. Dialects are tried in their order, behind
//! the model's own names, and the first by which a half is whole is that half's. In a dialect only
//! wrappers are passed over, since which components are none of its own is not known.
//!
//! Under the model's own names a shape has to be the expected one. In a dialect it may differ in
//! axes of length 1: `[C, C, 1, 1]` is `[C, C]`, as a linear layer is a 1x1 convolution, and the
//! values lie in the same order. A name in which more than wrappers was passed over, of another
//! shape than the expected one, is another tensor, which an adapter has put there.

mod spelling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::iter;

use ir::Dims;

use crate::expected::{Dialect, ExpectedHalf};
use spelling::{Spelling, WRAPPERS};

pub(crate) use spelling::components;

/// The tensors that were found.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Expected name -> the checkpoint's tensor.
    pub(crate) found: BTreeMap<String, Found>,
    /// The halves of which something was found.
    halves: Vec<FoundHalf>,
    /// Components that were passed over behind the prefix.
    passed_over: BTreeSet<String>,
}

/// A tensor of the checkpoint that is the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name in the checkpoint.
    pub(crate) raw: String,
    /// The shape that it is to be seen in, where that is not the one it has: the expected one.
    pub(crate) seen_as: Option<Dims>,
}

/// Where a half was found.
#[derive(Debug, PartialEq, Eq)]
struct FoundHalf {
    /// The half.
    name: String,
    /// What stands in front of its names; may be empty.
    prefix: String,
    /// The dialect that they are in, if they are not the model's own.
    dialect: Option<String>,
}

/// Why it is not certain which tensors are the model's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Two tensors are the same one of the model's, by what stands in `how`.
    Twice { name: String, first: String, second: String, how: Box<str> },
    /// A half is whole under several prefixes.
    Several { half: String, prefixes: Vec<String> },
}

/// What was found of one half under one prefix.
#[derive(Debug, Default)]
struct Candidate<'a> {
    /// Expected name -> the checkpoint's tensor.
    names: BTreeMap<&'a str, Match<'a>>,
    /// Those that have a right shape.
    fitting: usize,
    twice: Option<(&'a str, [&'a str; 2])>,
}

/// A tensor of the checkpoint that goes by an expected name.
#[derive(Debug)]
struct Match<'a> {
    raw: &'a str,
    /// Whether only wrappers were passed over.
    is_exact: bool,
    fit: Fit<'a>,
    passed_over: Vec<&'a str>,
}

/// How a tensor's shape stands to the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit<'a> {
    Same,
    /// They differ in axes of length 1; this is the expected one.
    ButForOnes(&'a Dims),
    No,
}

/// By prefix, what was found of one half.
type Candidates<'a> = BTreeMap<String, Candidate<'a>>;

/// What was found by one naming: of each half.
struct Naming<'a> {
    /// `None` for the model's own.
    dialect: Option<&'a Dialect>,
    halves: Vec<Candidates<'a>>,
}

/// Finds the tensors of all halves among those that are `present`, names with shapes.
///
/// # Errors
/// [`Fault`].
pub(crate) fn find(
    present: &[(&str, &[usize])],
    halves: &[ExpectedHalf],
    dialects: &[Dialect],
) -> Result<Names, Fault> {
    let namings = namings(present, halves, dialects);
    let mut names = Names::default();
    for (place, half) in halves.iter().enumerate() {
        let is_whole = |naming: &&Naming<'_>| naming.prefixes_whole(place, half).next().is_some();
        let chosen = match namings.iter().find(is_whole) {
            Some(naming) => naming.choose(place, halves)?.map(|prefix| (naming, prefix)),
            // What is there of it will be told: most of it, and the first of equals; the own names
            // and no prefix come first.
            None => namings
                .iter()
                .flat_map(|naming| naming.halves[place].iter().map(move |found| (naming, found)))
                .rev()
                .max_by_key(|(_, (_, candidate))| candidate.names.len())
                .map(|(naming, (prefix, _))| (naming, prefix)),
        };
        let Some((naming, prefix)) = chosen else { continue };
        let candidate = &naming.halves[place][prefix];
        if let Some((name, [first, second])) = candidate.twice {
            let how = match naming.dialect {
                None => "without what wrappers put into their names".into(),
                Some(dialect) => format!("in {} naming", dialect.name()).into(),
            };
            return Err(Fault::Twice { name: name.into(), first: first.into(), second: second.into(), how });
        }
        for (name, found) in &candidate.names {
            let seen_as = match found.fit {
                Fit::ButForOnes(expected) => Some(expected.clone()),
                Fit::Same | Fit::No => None,
            };
            names.found.insert((*name).to_owned(), Found { raw: found.raw.into(), seen_as });
            names.passed_over.extend(found.passed_over.iter().map(|component| (*component).to_owned()));
        }
        let dialect = naming.dialect.map(|dialect| dialect.name().to_owned());
        names.halves.push(FoundHalf { name: half.name.clone(), prefix: prefix.clone(), dialect });
    }
    Ok(names)
}

/// The model's own naming and then the dialects, up to the one by which every half is whole in one
/// of them.
fn namings<'a>(
    present: &[(&'a str, &[usize])],
    halves: &'a [ExpectedHalf],
    dialects: &'a [Dialect],
) -> Vec<Naming<'a>> {
    let names = halves.iter().flat_map(|half| &half.tensors).map(|(name, _)| name.as_str());
    let known: HashSet<&str> = names.flat_map(components).collect();
    let mut namings: Vec<Naming<'a>> = vec![];
    for dialect in iter::once(None).chain(dialects.iter().map(Some)) {
        let found = halves.iter().map(|half| candidates(present, half, &known, dialect)).collect();
        namings.push(Naming { dialect, halves: found });
        let is_whole = |(place, half)| namings.iter().any(|naming| naming.prefixes_whole(place, half).next().is_some());
        if halves.iter().enumerate().all(is_whole) {
            break;
        }
    }
    namings
}

impl<'a> Naming<'a> {
    /// The prefixes under which a half is whole, in order.
    fn prefixes_whole(&self, place: usize, half: &ExpectedHalf) -> impl Iterator<Item = &String> {
        let expected = half.tensors.len();
        self.halves[place].iter().filter(move |(_, found)| found.fitting == expected).map(|(prefix, _)| prefix)
    }

    /// The prefix that is taken of those under which a half is whole.
    fn choose(&self, place: usize, halves: &[ExpectedHalf]) -> Result<Option<&String>, Fault> {
        // A prefix under which more of the model is whole is a better one.
        let halves_whole = |prefix: &String| {
            halves
                .iter()
                .zip(&self.halves)
                .filter(|(half, found)| {
                    found.get(prefix).is_some_and(|candidate| candidate.fitting == half.tensors.len())
                })
                .count()
        };
        let most = self.prefixes_whole(place, &halves[place]).map(halves_whole).max();
        let whole: Vec<&String> =
            self.prefixes_whole(place, &halves[place]).filter(|prefix| Some(halves_whole(prefix)) == most).collect();
        match whole[..] {
            [] => Ok(None),
            [prefix] => Ok(Some(prefix)),
            [prefix, ..] if prefix.is_empty() => Ok(Some(prefix)),
            _ => {
                Err(Fault::Several { half: halves[place].name.clone(), prefixes: whole.into_iter().cloned().collect() })
            }
        }
    }
}

/// The prefixes under which something of a half was found by one naming.
fn candidates<'a>(
    present: &[(&'a str, &[usize])],
    half: &'a ExpectedHalf,
    known: &HashSet<&str>,
    dialect: Option<&Dialect>,
) -> Candidates<'a> {
    let expected: HashMap<&str, &Dims> = half.tensors.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
    let mut candidates = Candidates::new();
    for &(raw, shape) in present {
        let Some((name, prefix, found)) = match_name(raw, shape, &expected, known, dialect) else { continue };
        let candidate = candidates.entry(prefix).or_default();
        match candidate.names.get(name) {
            Some(first) if first.is_exact == found.is_exact => {
                candidate.twice.get_or_insert((name, [first.raw, raw]));
                continue;
            }
            Some(first) if first.is_exact => continue,
            // The very name is better than any with more in it, and than two of those.
            Some(_) => {
                candidate.fitting -= 1;
                candidate.twice.take_if(|(twice, _)| *twice == name);
            }
            None => {}
        }
        candidate.fitting += usize::from(found.fit != Fit::No);
        candidate.names.insert(name, found);
    }
    candidates
}

/// The expected name that a tensor goes by, what stands in front of it, and how.
fn match_name<'a>(
    raw: &'a str,
    shape: &[usize],
    expected: &HashMap<&'a str, &'a Dims>,
    known: &HashSet<&str>,
    dialect: Option<&Dialect>,
) -> Option<(&'a str, String, Match<'a>)> {
    let spelling = Spelling::of(raw)?;
    let found = |kept: &[usize], is_exact: bool| {
        let name = spelling.join(kept);
        let own = match dialect {
            Some(dialect) => dialect.own_name(&name)?,
            None => name,
        };
        let (name, shape_expected) = expected.get_key_value(own.as_str())?;
        let fit = match dialect {
            None if shape != shape_expected.as_slice() => Fit::No,
            _ => fit(shape, shape_expected),
        };
        let passed_over = spelling.passed_over(kept);
        Some((*name, spelling.in_front(kept[0]), Match { raw, is_exact, fit, passed_over }))
    };
    let exact = spelling.ends().find_map(|kept| found(kept, true));
    if exact.is_some() || dialect.is_some() {
        return exact;
    }
    // Of another shape it is another tensor, that an adapter has put there.
    spelling.ends_of(known).find_map(|kept| found(&kept, false).filter(|(_, _, found)| found.fit == Fit::Same))
}

/// How a shape of a dialect stands to the expected one.
fn fit<'a>(shape: &[usize], expected: &'a Dims) -> Fit<'a> {
    let long = |shape: &[usize]| shape.iter().copied().filter(|length| *length != 1).collect::<Dims>();
    match () {
        () if shape == expected.as_slice() => Fit::Same,
        () if long(shape) == long(expected) => Fit::ButForOnes(expected),
        () => Fit::No,
    }
}

impl Names {
    /// Whether a tensor of the checkpoint is under a prefix of the model's.
    pub(crate) fn is_near(&self, raw: &str) -> bool {
        let near = |prefix: &str| {
            let mut names = components(raw).filter(|component| !WRAPPERS.contains(component));
            components(prefix).all(|component| names.next() == Some(component))
        };
        self.halves.is_empty() || self.halves.iter().any(|half| near(&half.prefix))
    }

    /// One sentence about which tensors were taken, where their names were not simply the expected
    /// ones; `others` are not read.
    pub(crate) fn account(&self, others: usize) -> Option<String> {
        let first = self.halves.first()?;
        let mut account = if self.halves.iter().all(|half| half.place() == first.place()) {
            if first.prefix.is_empty() && first.dialect.is_none() && self.passed_over.is_empty() {
                return None;
            }
            format!("the model's weights are those {}", first.place())
        } else {
            let parts = self.halves.iter().map(|half| format!("the {}'s weights are {}", half.name, half.place()));
            parts.collect::<Vec<_>>().join(", ")
        };
        if !self.passed_over.is_empty() {
            let shown: Vec<_> = self.passed_over.iter().map(|component| format!("`{component}`")).collect();
            account += &format!(", without {} in their names", shown.join(", "));
        }
        if others > 0 {
            let them = if others == 1 { "tensor is" } else { "tensors are" };
            account += &format!("; {others} other {them} not read");
        }
        Some(account)
    }
}

impl FoundHalf {
    /// Where it is, for a sentence.
    fn place(&self) -> String {
        let prefix = if self.prefix.is_empty() { "at the top".into() } else { format!("under `{}.`", self.prefix) };
        match &self.dialect {
            None => prefix,
            Some(dialect) => format!("{prefix} in {dialect} naming"),
        }
    }
}
