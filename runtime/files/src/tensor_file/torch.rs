//! What `torch.save` writes since PyTorch 1.6: a zip archive of a pickle and of the storages that
//! its tensors are views into.
//!
//! ```text
//! NAME/data.pkl     dictionaries and descriptions of tensors: see `pickle`
//! NAME/data/0       the numbers of a storage, uncompressed
//! NAME/byteorder    `little` or `big`; files of old versions have none
//! ```
//!
//! Tensors in dictionaries and lists are named by their keys, `state_dict.decoder.conv_in.weight`;
//! one that is alone is called `tensor`. What else is in there, numbers of steps and names, is
//! passed over.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;

use super::archive::Member;
use super::entry::{Entry, Location};
use super::pickle::{self, Object, Pickle, Tensor, Value};

/// The name of a tensor that is all there is.
const ONLY: &str = "tensor";
/// How deep dictionaries may lie in each other.
const DEPTH_LIMIT: usize = 64;
/// How many values are looked at: dictionaries may hold each other more than once.
const VISIT_LIMIT: usize = 1 << 20;
/// The most elements of a tensor that has more of them than its storage, as `expand` makes them.
const EXPANDED_LIMIT: usize = 1 << 28;

/// How pickles begin that no archive holds.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Whether an archive of these files is PyTorch's.
pub(super) fn is_torch(members: &[Member]) -> bool {
    members.iter().any(|member| pickle_root(member).is_some())
}

/// What a file is that begins as a pickle, if it does.
pub(super) fn bare_pickle(bytes: &[u8]) -> Option<String> {
    let rest = match bytes {
        [0x80, 2..=5, rest @ ..] => rest,
        _ => return None,
    };
    Some(if rest.starts_with(LEGACY_MAGIC) || rest.get(9..).is_some_and(|rest| rest.starts_with(LEGACY_MAGIC)) {
        "it is in the format that `torch.save` had before PyTorch 1.6; load it in PyTorch and save it again, best as \
         safetensors"
            .into()
    } else {
        "it is a Python pickle that `torch.save` did not write, and is not executed; save the tensors as safetensors"
            .into()
    })
}

/// `NAME/` of `NAME/data.pkl`.
fn pickle_root(member: &Member) -> Option<&str> {
    member.name.strip_suffix("data.pkl").filter(|root| root.is_empty() || root.ends_with('/'))
}

/// The tensors of an archive, in the order of the pickle; `bytes` are the whole file's.
///
/// # Errors
/// What is wrong with it and what to do, as a sentence about "it".
pub(super) fn entries(bytes: &[u8], members: &[Member]) -> Result<Vec<Entry>, String> {
    let pickles: Vec<_> = members.iter().filter_map(|member| Some((member, pickle_root(member)?))).collect();
    let [(program, root)] = pickles[..] else {
        return Err("it has more than one `data.pkl`; it is not of `torch.save`".into());
    };
    let member = |name: &str| members.iter().find(|member| member.name.strip_prefix(root) == Some(name));
    if member("constants.pkl").is_some() || members.iter().any(|m| m.name.starts_with(&format!("{root}code/"))) {
        return Err("it is a TorchScript archive (torch.jit.save), a program and not a checkpoint; load it with \
                    torch.jit.load and save its state_dict(), best as safetensors"
            .into());
    }
    let big_endian = match member("byteorder").map(|member| member.content(bytes)).transpose()?.as_deref() {
        None | Some(b"little") => false,
        Some(b"big") => true,
        Some(_) => return Err("its `byteorder` is neither `little` nor `big`; it is damaged".into()),
    };
    if program.range.len() > pickle::SIZE_LIMIT {
        return Err(format!("its pickle is larger than {} bytes", pickle::SIZE_LIMIT));
    }
    let pickle = Pickle::read(&program.content(bytes)?)?;

    let storages: std::collections::HashMap<&str, &Member> = members
        .iter()
        .filter_map(|member| Some((member.name.strip_prefix(root)?.strip_prefix("data/")?, member)))
        .collect();
    let mut entries = vec![];
    for (name, tensor) in named_tensors(&pickle)? {
        let storage = storages.get(tensor.storage.key.as_str());
        let fault = |problem: &str| format!("tensor `{name}`: {problem}");
        let storage = storage.ok_or_else(|| fault("its storage is not in the archive; it is damaged"))?;
        if !storage.is_stored() {
            return Err(fault(
                "its storage is compressed, which `torch.save` never does; unpack the archive, and pack it without \
                              compression (zip -0), or save it with PyTorch again",
            ));
        }
        let (range, strides) = view(tensor, storage.range.clone()).map_err(fault)?;
        entries.push(Entry {
            name,
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            location: Location::Content(range),
            strides,
            big_endian,
            arranged: OnceLock::new(),
        });
    }
    Ok(entries)
}

/// The part of the file that a tensor's elements lie in, and its strides unless they are row-major.
fn view(tensor: &Tensor, storage: Range<usize>) -> Result<(Range<usize>, Option<Vec<usize>>), &'static str> {
    let beyond = "it reaches beyond its storage; the file is damaged";
    if !tensor.dtype.bitsize().is_multiple_of(8) {
        return Err("its element type is no whole number of bytes");
    }
    let size = tensor.dtype.bitsize() / 8;
    let stored = storage.len() / size;
    let elements = tensor.shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis)).ok_or(beyond)?;
    if elements == 0 {
        return Ok((storage.start..storage.start, None));
    }
    let reach = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(0usize, |reach, (axis, stride)| reach.checked_add((axis - 1).checked_mul(*stride)?));
    let end = reach.and_then(|reach| reach.checked_add(tensor.offset)?.checked_add(1));
    let end = end.filter(|end| *end <= stored).ok_or(beyond)?;
    if elements > stored.max(EXPANDED_LIMIT) {
        return Err("it repeats its storage more often than is read here; save it as `tensor.contiguous()`");
    }
    let mut next = elements;
    let row_major = tensor.shape.iter().zip(&tensor.strides).all(|(axis, stride)| {
        next /= axis;
        *axis == 1 || *stride == next
    });
    let range = storage.start + tensor.offset * size..storage.start + end * size;
    Ok((range, (!row_major).then(|| tensor.strides.clone())))
}

/// The tensors that the root holds, with their names.
fn named_tensors(pickle: &Pickle) -> Result<Vec<(String, &Tensor)>, String> {
    let mut walk = Walk { pickle, found: vec![], visits: 0 };
    walk.visit(pickle.root, "", 0)?;
    if walk.found.is_empty() {
        return Err("there is no tensor in it".into());
    }
    let mut names = HashSet::new();
    match walk.found.iter().find(|(name, _)| !names.insert(name.as_str())) {
        Some((name, _)) => Err(format!("two tensors in it are called `{name}`")),
        None => Ok(walk.found),
    }
}

struct Walk<'a> {
    pickle: &'a Pickle,
    found: Vec<(String, &'a Tensor)>,
    visits: usize,
}

impl Walk<'_> {
    fn visit(&mut self, value: Value, name: &str, depth: usize) -> Result<(), String> {
        self.visits += 1;
        if self.visits > VISIT_LIMIT || depth > DEPTH_LIMIT {
            return Err(
                "dictionaries in its pickle hold each other too often or too deep; save the tensors alone".into()
            );
        }
        let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        match self.pickle.object(value) {
            Some(Object::Tensor(tensor)) => {
                self.found.push((if name.is_empty() { ONLY.into() } else { name.into() }, tensor));
            }
            Some(Object::List(items)) => {
                for (place, item) in items.iter().enumerate() {
                    self.visit(*item, &below(&place.to_string()), depth + 1)?;
                }
            }
            Some(Object::Dict(pairs)) => {
                // Of a key that was set twice the last value counts.
                let mut last: Vec<(String, Value)> = vec![];
                let mut places = std::collections::HashMap::new();
                for (key, value) in pairs {
                    let key = match (*key, self.pickle.object(*key)) {
                        (_, Some(Object::Text(text))) => text.clone(),
                        (Value::Int(number), _) => number.to_string(),
                        _ => continue,
                    };
                    match places.get(&key) {
                        Some(&place) => last[place] = (key, *value),
                        None => {
                            places.insert(key.clone(), last.len());
                            last.push((key, *value));
                        }
                    }
                }
                for (key, value) in last {
                    self.visit(value, &below(&key), depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
