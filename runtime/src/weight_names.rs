//! Which tensors of a checkpoint are the model's, found by what their names and the expected ones have in common.
//!
//! Trainers, compilers and pipelines put a model's tensors under names of their own: in front of them
//! (`first_stage_model.decoder.conv_in.weight`, `state_dict.module.vae.decoder...`), or in their midst
//! (`decoder._fsdp_wrapped_module.conv_in.weight`). So an expected name is looked for at the end of each name;
//! components that no expected name has are passed over. What stands in front is the *prefix*; under one prefix the
//! tensors are of one model. The prefix under which a half of the model is whole, in the right shapes, is taken;
//! several are refused, unless one of them is no prefix at all.
//!
//! Names that say the same in other words (`up.3.block.0` for `up_blocks.0.resnets.0`) are not known here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use frontend::Half;
use ir::Dims;

/// Components that compilers and trainers put in front of any other; a name with them is the very name without them.
const WRAPPERS: [&str; 5] =
    ["_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module"];

/// The tensors of a half: names and shapes.
pub(crate) type Expected = (Half, Vec<(String, Dims)>);

/// The tensors that were found.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Expected name -> the checkpoint's.
    pub(crate) found: BTreeMap<String, String>,
    /// What stands in front of the names of each half of which something was found; empty for nothing.
    pub(crate) prefixes: Vec<(Half, String)>,
    /// Components that were passed over behind the prefix.
    pub(crate) passed_over: BTreeSet<String>,
}

/// Why it is not certain which tensors are the model's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Two tensors have one name once wrappers are taken away.
    Twice { name: String, first: String, second: String },
    /// A half is whole under several prefixes.
    Several { half: Half, prefixes: Vec<String> },
}

/// What was found of one half under one prefix.
#[derive(Debug, Default)]
struct Candidate<'a> {
    /// Expected name -> the checkpoint's tensor.
    names: BTreeMap<&'a str, Taken<'a>>,
    /// Those that have the expected shape.
    fitting: usize,
    twice: Option<(&'a str, [&'a str; 2])>,
}

/// A tensor of the checkpoint under an expected name.
#[derive(Debug)]
struct Taken<'a> {
    raw: &'a str,
    /// Whether only wrappers were passed over.
    is_exact: bool,
    passed_over: Vec<&'a str>,
}

/// The components of a name. Some programs separate them by slashes or colons.
pub(crate) fn components(name: &str) -> impl Iterator<Item = &str> {
    name.split(['.', '/', ':', '|']).filter(|component| !component.is_empty())
}

/// Finds the tensors of all halves among those that are `present`, names with shapes.
///
/// # Errors
/// [`Fault`].
pub(crate) fn find(present: &[(&str, &[usize])], halves: &[Expected]) -> Result<Names, Fault> {
    let candidates = candidates(present, halves);
    let is_whole = |half: usize, prefix: &String| {
        candidates[half].get(prefix).is_some_and(|candidate| candidate.fitting == halves[half].1.len())
    };
    let mut names = Names::default();
    for (place, (half, _)) in halves.iter().enumerate() {
        let found = &candidates[place];
        // A prefix under which more of the model is whole is a better one.
        let halves_whole = |prefix: &String| (0..halves.len()).filter(|half| is_whole(*half, prefix)).count();
        let most = found.keys().filter(|prefix| is_whole(place, prefix)).map(halves_whole).max();
        let whole: Vec<&String> =
            found.keys().filter(|prefix| is_whole(place, prefix) && Some(halves_whole(prefix)) == most).collect();
        let prefix = match whole[..] {
            // What is there of it will be told; the first of equals, and no prefix comes first.
            [] => found.iter().rev().max_by_key(|(_, candidate)| candidate.names.len()).map(|(prefix, _)| prefix),
            [prefix] => Some(prefix),
            [prefix, ..] if prefix.is_empty() => Some(prefix),
            _ => return Err(Fault::Several { half: *half, prefixes: whole.into_iter().cloned().collect() }),
        };
        let Some(prefix) = prefix else { continue };
        let candidate = &found[prefix];
        if let Some((name, [first, second])) = candidate.twice {
            return Err(Fault::Twice { name: name.into(), first: first.into(), second: second.into() });
        }
        for (name, taken) in &candidate.names {
            names.found.insert((*name).to_owned(), taken.raw.to_owned());
            names.passed_over.extend(taken.passed_over.iter().map(|component| (*component).to_owned()));
        }
        names.prefixes.push((*half, prefix.clone()));
    }
    Ok(names)
}

/// For each half the prefixes under which something of it was found.
fn candidates<'a>(present: &[(&'a str, &[usize])], halves: &'a [Expected]) -> Vec<BTreeMap<String, Candidate<'a>>> {
    let mut expected: HashMap<&str, (usize, &Dims)> = HashMap::new();
    let mut known: HashSet<&str> = HashSet::new();
    for (place, (_, tensors)) in halves.iter().enumerate() {
        for (name, shape) in tensors {
            expected.insert(name, (place, shape));
            known.extend(components(name));
        }
    }
    // The keys as they live in `halves`.
    let key = |name: &str| expected.get_key_value(name).map(|(key, (place, shape))| (*key, *place, *shape));

    let mut candidates: Vec<BTreeMap<String, Candidate<'a>>> = halves.iter().map(|_| BTreeMap::new()).collect();
    for &(raw, shape) in present {
        let Some(found) = match_name(raw, shape, &known, key) else { continue };
        let candidate = candidates[found.half].entry(found.prefix).or_default();
        match candidate.names.get(found.name) {
            Some(first) if first.is_exact == found.is_exact => {
                candidate.twice.get_or_insert((found.name, [first.raw, raw]));
                continue;
            }
            Some(first) if first.is_exact => continue,
            // The very name is better than any with more in it, and than two of those.
            Some(_) => {
                candidate.fitting -= 1;
                candidate.twice.take_if(|(name, _)| *name == found.name);
            }
            None => {}
        }
        candidate.fitting += usize::from(found.fits);
        let taken = Taken { raw, is_exact: found.is_exact, passed_over: found.passed_over };
        candidate.names.insert(found.name, taken);
    }
    candidates
}

/// A tensor that goes by an expected name.
struct Match<'a> {
    half: usize,
    name: &'a str,
    prefix: String,
    /// Whether only wrappers were passed over.
    is_exact: bool,
    fits: bool,
    passed_over: Vec<&'a str>,
}

fn match_name<'a>(
    raw: &'a str,
    shape: &[usize],
    known: &HashSet<&str>,
    key: impl Fn(&str) -> Option<(&'a str, usize, &'a Dims)>,
) -> Option<Match<'a>> {
    let all: Vec<&str> = components(raw).collect();
    // The last component is the tensor itself and never a wrapper.
    let last = all.len().checked_sub(1)?;
    let is_wrapper = |place: usize| place != last && WRAPPERS.contains(&all[place]);
    let clean: Vec<usize> = (0..all.len()).filter(|place| !is_wrapper(*place)).collect();
    let join = |places: &[usize]| places.iter().map(|place| all[*place]).collect::<Vec<_>>().join(".");

    let found = |start: usize, kept: &[usize], is_exact: bool| {
        let (name, half, expected) = key(&join(kept))?;
        let fits = expected.as_slice() == shape;
        let first = kept[0];
        let passed_over = (first..all.len()).filter(|place| !kept.contains(place)).map(|place| all[place]);
        // Wrappers in front of everything are worth a word too.
        let in_front = (0..first).filter(|place| is_wrapper(*place)).map(|place| all[place]);
        let passed_over = in_front.chain(passed_over).collect();
        Some(Match { half, name, prefix: join(&clean[..start]), is_exact, fits, passed_over })
    };
    let exact = (0..clean.len()).find_map(|start| found(start, &clean[start..], true));
    exact.or_else(|| {
        (0..clean.len()).filter(|start| known.contains(all[clean[*start]])).find_map(|start| {
            let rest = clean[start..].iter().copied();
            let kept: Vec<usize> = rest.filter(|place| *place == last || known.contains(all[*place])).collect();
            // Of another shape it is another tensor, that an adapter has put there.
            found(start, &kept, false).filter(|found| found.fits)
        })
    })
}

impl Names {
    /// Whether a tensor of the checkpoint is under a prefix of the model's.
    pub(crate) fn is_near(&self, raw: &str) -> bool {
        let near = |prefix: &str| {
            let mut names = components(raw).filter(|component| !WRAPPERS.contains(component));
            components(prefix).all(|component| names.next() == Some(component))
        };
        self.prefixes.is_empty() || self.prefixes.iter().any(|(_, prefix)| near(prefix))
    }

    /// One sentence about which tensors were taken, where their names were not simply the expected ones; `others` are
    /// not read.
    pub(crate) fn account(&self, others: usize) -> Option<String> {
        let place = |prefix: &str| if prefix.is_empty() { "at the top".into() } else { format!("under `{prefix}.`") };
        let first = self.prefixes.first().map(|(_, prefix)| prefix.as_str())?;
        let mut account = if self.prefixes.iter().all(|(_, prefix)| prefix == first) {
            if first.is_empty() && self.passed_over.is_empty() {
                return None;
            }
            format!("the model's weights are those {}", place(first))
        } else {
            let parts =
                self.prefixes.iter().map(|(half, prefix)| format!("the {half}'s weights are {}", place(prefix)));
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

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODER: [&str; 2] = ["encoder.conv_in.conv.weight", "encoder.norm.bias"];
    const DECODER: [&str; 2] = ["decoder.conv_in.conv.weight", "post_quant_conv.weight"];

    /// Two halves of two tensors each, [2] but for what they are in `found`.
    fn expected() -> Vec<Expected> {
        let tensors = |names: [&str; 2]| names.map(|name| (name.to_owned(), Dims::from_slice(&[2]))).to_vec();
        vec![(Half::Encoder, tensors(ENCODER)), (Half::Decoder, tensors(DECODER))]
    }

    fn find_in(names: &[String]) -> Result<Names, Fault> {
        let present: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[2usize][..])).collect();
        find(&present, &expected())
    }

    /// All four names, each made into the checkpoint's by `rename`.
    fn renamed(rename: impl Fn(&str) -> String) -> Vec<String> {
        ENCODER.into_iter().chain(DECODER).map(rename).collect()
    }

    #[test]
    fn any_prefix_and_any_wrapper_is_found() {
        let after = |component: &'static str, inserted: &'static str| {
            move |name: &str| name.replace(&format!("{component}."), &format!("{component}.{inserted}."))
        };
        let cases: [(&str, Vec<String>, &str); 12] = [
            ("", renamed(str::to_owned), ""),
            ("module", renamed(|name| format!("module.{name}")), "under `module.`"),
            ("module", renamed(|name| format!("module._orig_mod.{name}")), "under `module.`, without `_orig_mod` in"),
            ("", renamed(|name| format!("_orig_mod.{name}")), "at the top, without `_orig_mod` in"),
            ("vae", renamed(|name| format!("vae.{name}")), "under `vae.`"),
            ("first_stage_model", renamed(|name| format!("first_stage_model.{name}")), "under `first_stage_model.`"),
            ("state_dict.model.vae", renamed(|name| format!("state_dict.model.vae.{name}")), "`state_dict.model.vae.`"),
            ("qqq", renamed(|name| format!("qqq/{}", name.replace('.', "/"))), "under `qqq.`"),
            ("", renamed(after("conv_in", "_fsdp_wrapped_module")), "at the top, without `_fsdp_wrapped_module` in"),
            (
                "",
                renamed(|name| {
                    format!("_fsdp_wrapped_module.{}", after("decoder", "_checkpoint_wrapped_module")(name))
                }),
                "without `_checkpoint_wrapped_module`, `_fsdp_wrapped_module` in",
            ),
            ("", renamed(after("conv_in", "base_layer")), "without `base_layer` in"),
            ("m", renamed(|name| format!("m.{}", after("encoder", "module")(name))), "under `m.`, without `module` in"),
        ];
        for (prefix, names, said) in cases {
            let found = find_in(&names).unwrap();
            assert_eq!(found.found.keys().map(String::as_str).collect::<Vec<_>>(), {
                let mut all = [ENCODER, DECODER].concat();
                all.sort_unstable();
                all
            });
            assert!(found.found.values().all(|raw| names.contains(raw)));
            assert!(found.prefixes.iter().all(|(_, found)| found == prefix), "{names:?}: {:?}", found.prefixes);
            let account = found.account(0).unwrap_or_default();
            assert!(account.contains(said) && account.is_empty() == said.is_empty(), "{names:?}: {account}");
        }
    }

    #[test]
    fn a_vae_is_found_in_a_pipeline() {
        let mut names = renamed(|name| format!("vae.{name}"));
        // A text encoder, a transformer, and an adapter whose tensor of another shape is none of the model's.
        names.extend(
            ["text_encoder.encoder.norm.weight", "transformer.conv_in.conv.weight", "encoder.final"].map(Into::into),
        );
        let mut present: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[2usize][..])).collect();
        present.push(("vae.decoder.conv_in.lora_A.conv.weight", &[7]));
        let found = find(&present, &expected()).unwrap();
        assert_eq!(
            found.account(3).unwrap(),
            "the model's weights are those under `vae.`; 3 other tensors are not read"
        );
        assert_eq!(found.found["encoder.norm.bias"], "vae.encoder.norm.bias");
        assert!(found.is_near("vae.decoder.conv_in.lora_A.conv.weight") && !found.is_near("transformer.conv_in"));
    }

    #[test]
    fn shapes_tell_two_models_apart() {
        let (audio, video) = (renamed(|name| format!("audio.{name}")), renamed(|name| format!("video.{name}")));
        let of = |names: &[String], shape: &'static [usize]| -> Vec<(String, &'static [usize])> {
            names.iter().map(|name| (name.clone(), shape)).collect()
        };
        let all = [of(&audio, &[3]), of(&video, &[2])].concat();
        let present: Vec<(&str, &[usize])> = all.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        assert_eq!(find(&present, &expected()).unwrap().prefixes[0].1, "video");
    }

    #[test]
    fn what_is_there_twice_is_refused_unless_one_has_no_prefix() {
        let both = [renamed(|name| format!("ema.{name}")), renamed(|name| format!("model.{name}"))].concat();
        let prefixes = vec!["ema".to_owned(), "model".into()];
        assert_eq!(find_in(&both).unwrap_err(), Fault::Several { half: Half::Encoder, prefixes });
        let with_top = [renamed(|name| format!("ema.{name}")), renamed(str::to_owned)].concat();
        assert_eq!(find_in(&with_top).unwrap().account(4), None);
        // A half alone beside the whole does not count.
        let decoder = DECODER.map(|name| format!("ema.{name}"));
        let found = find_in(&[renamed(|name| format!("model.{name}")), decoder.to_vec()].concat()).unwrap();
        assert!(found.prefixes.iter().all(|(_, prefix)| prefix == "model"));
        // Nor do an adapter's tensors beside the very name.
        let adapted = ["encoder.norm.a.bias", "encoder.norm.b.bias"].map(str::to_owned);
        let found = find_in(&[adapted.to_vec(), renamed(str::to_owned)].concat()).unwrap();
        assert_eq!((found.found["encoder.norm.bias"].as_str(), found.account(0)), ("encoder.norm.bias", None));
        let twice = [renamed(str::to_owned), vec!["_orig_mod.encoder.norm.bias".into()]].concat();
        let fault = find_in(&twice).unwrap_err();
        let (first, second) = ("encoder.norm.bias".to_owned(), "_orig_mod.encoder.norm.bias".to_owned());
        assert_eq!(fault, Fault::Twice { name: "encoder.norm.bias".into(), first, second });
    }

    #[test]
    fn halves_may_lie_apart_or_be_missing() {
        let apart = [ENCODER.map(|name| format!("a.{name}")), DECODER.map(|name| format!("b.{name}"))].concat();
        let account = find_in(&apart).unwrap().account(0).unwrap();
        assert_eq!(account, "the encoder's weights are under `a.`, the decoder's weights are under `b.`");
        let part = find_in(&["x.decoder.conv_in.conv.weight".into()]).unwrap();
        assert_eq!(part.prefixes, [(Half::Decoder, "x".into())]);
        assert_eq!(find_in(&["w".into()]).unwrap().account(1), None);
    }
}
