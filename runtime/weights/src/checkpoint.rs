//! A model's weights by name, in one file or in shards.
//!
//! Where the files are is found by [`crate::model`], which of their tensors are the model's by
//! `weight_names`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::tensor_file::{Dtype, TensorFile, TensorView, describe};
use ir::Dims;

use crate::error::{Error, Result};
use crate::expected::{Dialect, ExpectedHalf};
use crate::file_names::WEIGHTS_FILE;
use crate::model_files::WeightFiles;
use crate::scales;
use crate::shard_index::ShardIndex;
use crate::weight_names::{self, Fault, components};

/// How many prefixes a message lists.
const SHOWN: usize = 12;

/// A model's weights, mapped and not copied. Names are the files' until [`Checkpoint::named`] finds
/// the model's among them.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The weights file, or the index of the shards.
    path: PathBuf,
    files: Arc<[TensorFile]>,
    tensors: BTreeMap<String, Entry>,
    /// Which tensors were taken for the model's, where that was not plain.
    account: Option<String>,
}

/// Where the tensor of a name is.
#[derive(Debug, Clone)]
struct Entry {
    /// The file's place in `files`.
    file: usize,
    /// The name as the file has it.
    raw: String,
    /// The shape that it is seen in, where the file's has other axes of length 1.
    seen_as: Option<Dims>,
}

/// What is known of a tensor without a look at its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its element type.
    pub dtype: Dtype,
    /// Axes, slowest first.
    pub shape: &'a [usize],
}

impl Checkpoint {
    /// Opens the weights of a model, each file once.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`]; [`Error::ShardIndex`] if a tensor is not in the shard that
    /// the index says, or in two.
    pub fn open(weights: &WeightFiles) -> Result<Checkpoint> {
        match weights {
            WeightFiles::One(path) => {
                let file = TensorFile::open(path, &format!("expected a checkpoint such as {WEIGHTS_FILE}"))?;
                Ok(Checkpoint::from_file(file))
            }
            WeightFiles::Shards(index) => Checkpoint::open_shards(index),
        }
    }

    fn open_shards(index: &ShardIndex) -> Result<Checkpoint> {
        let hint = format!("{} names it as a shard; the download or the copy is incomplete", index.path().display());
        let shards = index.shard_names().into_iter();
        let files = shards.map(|name| Ok((name, TensorFile::open(&index.shard_path(name), &hint)?)));
        let files: BTreeMap<&str, TensorFile> = files.collect::<Result<_>>()?;
        let fault = |problem: String| Error::ShardIndex { path: index.path().into(), problem };
        for (tensor, shard) in index.tensors() {
            if files.get(shard).is_none_or(|file| file.shape(tensor).is_none()) {
                let elsewhere = files.iter().find(|(_, file)| file.shape(tensor).is_some());
                let elsewhere = elsewhere.map_or("nor in any other".into(), |(other, _)| format!("but in `{other}`"));
                return Err(fault(format!(
                    "tensor `{tensor}` is not in `{shard}`, where `weight_map` has it, {elsewhere}"
                )));
            }
        }
        let mut shard_of: BTreeMap<String, &str> = BTreeMap::new();
        for (second, file) in &files {
            for tensor in file.names() {
                if let Some(first) = shard_of.insert(tensor.clone(), second) {
                    return Err(fault(format!("tensor `{tensor}` is both in `{first}` and in `{second}`")));
                }
            }
        }
        Ok(Checkpoint::from_files(index.path().into(), files.into_values().collect()))
    }

    /// The weights in `file`.
    pub fn from_file(file: TensorFile) -> Checkpoint {
        Checkpoint::from_files(file.path().into(), vec![file])
    }

    fn from_files(path: PathBuf, files: Vec<TensorFile>) -> Checkpoint {
        let entries = |(place, file): (usize, &TensorFile)| {
            file.names().into_iter().map(move |name| (name.clone(), Entry { file: place, raw: name, seen_as: None }))
        };
        let tensors = files.iter().enumerate().flat_map(entries).collect();
        Checkpoint { path, files: files.into(), tensors, account: None }
    }

    /// Only the tensors whose names begin with `prefix`, and without it.
    ///
    /// # Errors
    /// [`Error::NoPrefix`] if there is none.
    pub fn under(mut self, prefix: &str) -> Result<Checkpoint> {
        let without = |name: &String| {
            let mut rest = components(name);
            components(prefix)
                .all(|component| rest.next() == Some(component))
                .then(|| rest.collect::<Vec<_>>().join("."))
        };
        let below: BTreeMap<_, _> = self
            .tensors
            .iter()
            .filter_map(|(name, entry)| Some((without(name).filter(|rest| !rest.is_empty())?, entry.clone())))
            .collect();
        if below.is_empty() {
            let fronts: BTreeSet<&str> = self.tensors.keys().filter_map(|name| components(name).next()).collect();
            let shown: Vec<_> = fronts.into_iter().take(SHOWN).map(|front| format!("`{front}`")).collect();
            let prefix = components(prefix).collect::<Vec<_>>().join(".");
            return Err(Error::NoPrefix { path: self.path, prefix, present: shown.join(", ") });
        }
        self.tensors = below;
        Ok(self)
    }

    /// With the names that the model has for its tensors, which may stand behind a prefix, have
    /// wrappers in them, or be in one of `dialects`: the first naming by which a half is whole,
    /// in the right shapes, is that half's, and the model's own comes first. Where the shape of
    /// a dialect's tensor differs from the expected one in axes of length 1 alone, it is seen in
    /// the expected one from here on.
    /// What is not the model's, but lies beside it, keeps its own name. A half may be missing, or
    /// not be whole: [`Self::check`] tells.
    ///
    /// # Errors
    /// [`Error::DuplicateTensor`], [`Error::Ambiguous`].
    pub fn named(mut self, halves: &[ExpectedHalf], dialects: &[Dialect]) -> Result<Checkpoint> {
        let present: Vec<_> = self.signatures().map(|tensor| (tensor.name, tensor.shape)).collect();
        let names = weight_names::find(&present, halves, dialects).map_err(|fault| {
            let path = self.path.clone();
            match fault {
                Fault::Twice { name, first, second, how } => Error::DuplicateTensor { path, name, first, second, how },
                Fault::Several { half, prefixes } => Error::Ambiguous { path, half, prefixes },
            }
        })?;
        let own = |(name, found): (&String, &weight_names::Found)| {
            let entry = self.tensors.get(&found.raw)?;
            Some((name.clone(), Entry { seen_as: found.seen_as.clone(), ..entry.clone() }))
        };
        let mut found: BTreeMap<String, Entry> = names.found.iter().filter_map(own).collect();
        for taken in names.found.values() {
            self.tensors.remove(&taken.raw);
        }
        let before = self.tensors.len();
        self.tensors.retain(|raw, _| names.is_near(raw));
        self.account = names.account(before - self.tensors.len());
        self.tensors.append(&mut found);
        Ok(self)
    }

    /// One sentence about which tensors were taken for the model's, if their names are not simply
    /// the model's.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The weights file, or the index of the shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `key` in the metadata of its files: of the first that has one.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.files.iter().find_map(|file| file.label(key))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.view(self.tensors.get(name)?)
    }

    fn view<'a>(&'a self, entry: &'a Entry) -> Option<TensorView<'a>> {
        let mut view = self.files[entry.file].tensor(&entry.raw)?;
        if let Some(shape) = &entry.seen_as {
            view.shape = shape;
        }
        Some(view)
    }

    /// The values of a tensor as f32, row-major; f32, f16, bf16, f64 (rounded) and floats of eight
    /// bits are converted, on all threads, and the latter multiplied by their scale if one stands
    /// beside them.
    ///
    /// # Errors
    /// [`files::Error::MissingTensor`], [`files::Error::WrongDtype`], [`Error::Scale`].
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.f32s(name).map(Cow::into_owned)
    }

    /// The same, where they lie in the file if they are f32 already.
    ///
    /// # Errors
    /// As [`Self::to_f32`].
    pub fn f32s(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let Some(entry) = self.tensors.get(name) else {
            let (path, present) = (self.path.clone(), self.contents());
            return Err(files::Error::MissingTensor { path, tensor: name.into(), present }.into());
        };
        let file = &self.files[entry.file];
        let mut values = file.f32s(&entry.raw)?;
        if let Some((dtype, shape)) = file.signature(&entry.raw).filter(|(dtype, _)| scales::may_have_scale(*dtype)) {
            let fault = |scale, problem| Error::Scale {
                path: file.path().into(),
                weight: entry.raw.clone(),
                dtype: dtype.to_string(),
                scale,
                problem,
            };
            if let Some(scale) = scales::scale_by_blocks(&self.files, &entry.raw) {
                return Err(fault(scale, "which is of blocks of the weight, and those are not read".into()));
            }
            if let Some((scale, view)) = scales::scale(&self.files, &entry.raw) {
                let outputs = shape.first().copied().unwrap_or(1);
                let is_taken = view.to_f32().is_some_and(|scales| scales::multiply(values.to_mut(), outputs, &scales));
                if !is_taken {
                    let found = format!("{} {:?}", view.dtype, view.shape);
                    return Err(fault(
                        scale,
                        format!("which is {found}; expected one float, or one for each of {outputs}"),
                    ));
                }
            }
        }
        Ok(values)
    }

    /// Lets go of the memory that a mapped tensor takes: it is read again when it is asked for.
    pub fn release(&self, name: &str) {
        if let Some(entry) = self.tensors.get(name) {
            self.files[entry.file].release(&entry.raw);
        }
    }

    /// Bytes of memory that a tensor keeps once it was read and [released](Self::release).
    pub fn kept_bytes(&self, name: &str) -> usize {
        self.tensors.get(name).map_or(0, |entry| self.files[entry.file].kept_bytes(&entry.raw))
    }

    /// Whether there are weights of eight bits.
    pub(crate) fn has_eight_bits(&self) -> bool {
        self.signatures().any(|tensor| scales::may_have_scale(tensor.dtype))
    }

    /// The tensors with element types and shapes, for messages: at most twelve and a count of the
    /// others.
    pub fn contents(&self) -> String {
        describe(self.len(), self.iter())
    }

    /// All tensors with their names, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TensorView<'_>)> {
        self.tensors.iter().filter_map(|(name, entry)| Some((name.as_str(), self.view(entry)?)))
    }

    /// Name, element type and shape of every tensor, in the order of the names, without a look at
    /// any values: by these a model is recognised.
    pub fn signatures(&self) -> impl Iterator<Item = Signature<'_>> {
        self.tensors.iter().filter_map(|(name, entry)| {
            let (dtype, shape) = self.files[entry.file].signature(&entry.raw)?;
            Some(Signature { name, dtype, shape: entry.seen_as.as_deref().unwrap_or(shape) })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::tensor::TensorView as Tensor;

    use super::*;

    /// A weights file with these tensors of one f32 each, the tensor's place in the list.
    fn write(path: &Path, names: &[&str]) {
        let values: Vec<[u8; 4]> = (0..names.len()).map(|i| (i as f32).to_le_bytes()).collect();
        let tensors = names.iter().zip(&values).map(|(n, v)| (*n, Tensor::new(Dtype::F32, vec![1], v).unwrap()));
        fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    }

    /// A decoder of these tensors, [1] each.
    fn decoder(names: &[&str]) -> Vec<ExpectedHalf> {
        let tensors = names.iter().map(|name| ((*name).to_owned(), Dims::from_slice(&[1]))).collect();
        vec![ExpectedHalf::new("decoder", tensors)]
    }

    #[test]
    fn tensors_are_found_by_the_models_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WEIGHTS_FILE);
        write(&path, &["vae._orig_mod.b.weight", "vae.a._orig_mod.weight", "vae.c", "other.d", "other.e"]);
        let checkpoint =
            Checkpoint::open(&WeightFiles::One(path)).unwrap().named(&decoder(&["a.weight", "b.weight"]), &[]).unwrap();
        assert_eq!(checkpoint.to_f32("b.weight").unwrap(), [0.0]);
        let all: Vec<_> = checkpoint.iter().map(|(name, view)| (name, view.dtype, view.shape)).collect();
        let of = |name| (name, Dtype::F32, &[1][..]);
        assert_eq!(all, [of("a.weight"), of("b.weight"), of("vae.c")]);
        let account = checkpoint.account().unwrap();
        assert_eq!(
            account,
            "the model's weights are those under `vae.`, without `_orig_mod` in their names; 2 other tensors are not \
             read"
        );
        assert!(checkpoint.to_f32("c").unwrap_err().to_string().contains("no tensor `c`"));
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let open = || Checkpoint::open(&WeightFiles::One(path.clone())).unwrap();
        write(&path, &["_orig_mod.b.weight", "b.weight"]);
        let message = open().named(&decoder(&["b.weight"]), &[]).unwrap_err().to_string();
        assert!(message.contains("`_orig_mod.b.weight`") && message.contains("both become `b.weight`"), "{message}");
        write(&path, &["ema.b.weight", "model.b.weight"]);
        let message = open().named(&decoder(&["b.weight"]), &[]).unwrap_err().to_string();
        assert!(message.contains("more than once, under `ema.` and `model.`"), "{message}");
        assert!(message.contains("as in `#ema`"), "{message}");
        let chosen = open().under("model.").unwrap().named(&decoder(&["b.weight"]), &[]).unwrap();
        assert_eq!(chosen.to_f32("b.weight").unwrap(), [1.0]);
        let message = open().under("vae").unwrap_err().to_string();
        assert!(message.contains("begins with `vae.`; names begin with `ema`, `model`"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = WeightFiles::One(folder.path().join("no.safetensors"));
        let message = Checkpoint::open(&missing).unwrap_err().to_string();
        assert!(message.contains("no such file; expected a checkpoint"), "{message}");
    }

    /// Two shards with these tensors, and an index that says so but for `index`, which replaces
    /// entries.
    fn sharded(a: &[&str], b: &[&str], index: serde_json::Value) -> Result<Checkpoint> {
        let folder = tempfile::tempdir().unwrap();
        let mut map = serde_json::Map::new();
        for (shard, tensors) in [("a.safetensors", a), ("b.safetensors", b)] {
            write(&folder.path().join(shard), tensors);
            map.extend(tensors.iter().map(|tensor| (tensor.to_string(), shard.into())));
        }
        map.extend(index.as_object().unwrap().clone());
        let path = folder.path().join("x.safetensors.index.json");
        fs::write(&path, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
        Checkpoint::open(&WeightFiles::Shards(ShardIndex::read(&path)?))
    }

    #[test]
    fn shards_are_one_checkpoint() {
        let checkpoint = sharded(&["y", "_orig_mod.m.w"], &["x", "z"], serde_json::json!({})).unwrap();
        let checkpoint = checkpoint.named(&decoder(&["x", "m.w"]), &[]).unwrap();
        let all: Vec<_> = checkpoint.iter().map(|(name, view)| (name, view.bytes[2])).collect();
        // 0.0 and 1.0 are the values of a shard's first and second tensor.
        assert_eq!(all, [("m.w", 0x80), ("x", 0), ("y", 0), ("z", 0x80)]);
        assert_eq!(checkpoint.to_f32("m.w").unwrap(), [1.0]);
        let message = checkpoint.to_f32("q").unwrap_err().to_string();
        assert!(message.contains("index.json: no tensor `q`") && message.contains("`m.w` F32 [1]"), "{message}");
    }

    #[test]
    fn shards_that_are_not_as_the_index_says_are_refused() {
        let complaint = |a: &[&str], b: &[&str], index| sharded(a, b, index).unwrap_err().to_string();
        let message = complaint(&["w", "x"], &["y"], serde_json::json!({"x": "b.safetensors"}));
        assert!(
            message.contains("`x` is not in `b.safetensors`") && message.contains("but in `a.safetensors`"),
            "{message}"
        );
        let message = complaint(&["x"], &["y"], serde_json::json!({"z": "b.safetensors"}));
        assert!(message.contains("`z` is not in `b.safetensors`") && message.contains("nor in any other"), "{message}");
        let message = complaint(&["x", "y"], &["y"], serde_json::json!({}));
        assert!(message.contains("`y` is both in `a.safetensors` and in `b.safetensors`"), "{message}");
        let message = complaint(&["x"], &["y"], serde_json::json!({"z": "c.safetensors"}));
        assert!(
            message.contains("c.safetensors: no such file;") && message.contains("names it as a shard"),
            "{message}"
        );
        let twice = sharded(&["m.x"], &["m._orig_mod.x"], serde_json::json!({})).unwrap();
        let message = twice.named(&decoder(&["m.x"]), &[]).unwrap_err().to_string();
        assert!(message.contains("both become `m.x`"), "{message}");
    }

    #[test]
    fn weights_of_eight_bits_are_multiplied_by_their_scales() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fp8.safetensors");
        let (two, scales) = (2f32.to_le_bytes(), [3f32, 4.0].map(f32::to_le_bytes).concat());
        let of_weight: [u8; 4] = [0x38, 0xb8, 0x40, 0x30]; // 1, -1, 2, 0.5
        let open = |tensors: &[(&str, Dtype, &[usize], &[u8])]| {
            let views =
                tensors.iter().map(|(n, dtype, shape, v)| (*n, Tensor::new(*dtype, shape.to_vec(), v).unwrap()));
            fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
            Checkpoint::open(&WeightFiles::One(path.clone())).unwrap()
        };
        let weight = ("a.weight", Dtype::F8_E4M3, &[2, 2][..], &of_weight[..]);
        let of = |scale| open(&[weight, scale]).to_f32("a.weight").map_err(|error| error.to_string());
        assert_eq!(open(&[weight]).to_f32("a.weight").unwrap(), [1.0, -1.0, 2.0, 0.5]);
        assert_eq!(of(("a.scale_weight", Dtype::F32, &[], &two)).unwrap(), [2.0, -2.0, 4.0, 1.0]);
        assert_eq!(of(("a.weight_scale", Dtype::F32, &[2, 1], &scales)).unwrap(), [3.0, -3.0, 8.0, 2.0]);
        let message = of(("a.scale_weight", Dtype::F32, &[0], &[])).unwrap_err();
        assert!(message.ends_with("which is F32 [0]; expected one float, or one for each of 2"), "{message}");
        let message = of(("a.weight_scale_inv", Dtype::F32, &[1, 1], &two)).unwrap_err();
        assert!(message.contains("`a.weight_scale_inv`, which is of blocks"), "{message}");
        let checkpoint =
            open(&[weight, ("a.scale_weight", Dtype::F32, &[1], &two), ("scaled_fp8", Dtype::F8_E4M3, &[0], &[])]);
        let half = ExpectedHalf::new("decoder", vec![("a.weight".into(), Dims::from_slice(&[2, 2]))]);
        checkpoint.check(&half).unwrap();
        assert_eq!(checkpoint.unexpected(&[half], |_| false), None);
    }

    #[test]
    fn a_dialects_tensors_are_seen_as_the_model_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("original.safetensors");
        let values: Vec<u8> = [1f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let tensors = [("vae.q.w", vec![2, 2, 1, 1]), ("vae.norm.g", vec![4]), ("vae.steps", vec![1, 4])];
        let tensors = tensors.map(|(name, shape)| (name, Tensor::new(Dtype::F32, shape, &values).unwrap()));
        fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let checkpoint = Checkpoint::open(&WeightFiles::One(path)).unwrap();
        let of = |name, shape| Signature { name, dtype: Dtype::F32, shape };
        let all: Vec<_> = checkpoint.signatures().collect();
        assert_eq!(all, [of("vae.norm.g", &[4]), of("vae.q.w", &[2, 2, 1, 1]), of("vae.steps", &[1, 4])]);

        let half = ExpectedHalf::new(
            "decoder",
            vec![
                ("norm.gamma".into(), Dims::from_slice(&[4, 1, 1])),
                ("to_q.weight".into(), Dims::from_slice(&[2, 2])),
            ],
        );
        let original = Dialect::new("original", |name| match name {
            "q.w" => Some("to_q.weight".into()),
            "norm.g" => Some("norm.gamma".into()),
            _ => None,
        });
        let checkpoint = checkpoint.named(std::slice::from_ref(&half), &[original]).unwrap();
        assert_eq!(checkpoint.account(), Some("the model's weights are those under `vae.` in original naming"));
        checkpoint.check(&half).unwrap();
        let all: Vec<_> = checkpoint.signatures().collect();
        assert_eq!(all, [of("norm.gamma", &[4, 1, 1]), of("to_q.weight", &[2, 2]), of("vae.steps", &[1, 4])]);
        let view = checkpoint.tensor("to_q.weight").unwrap();
        assert_eq!((view.shape, view.bytes), (&[2, 2][..], &values[..]));
        assert_eq!(checkpoint.iter().map(|(_, view)| view.shape.len()).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(checkpoint.to_f32("norm.gamma").unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }
}
