//! A model's weights by name, in one file or in shards.
//!
//! Knows no meaning of a weight's name; where the files are is found by [`crate::model`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::{WEIGHTS_FILE, WeightFiles};
use crate::shard_index::ShardIndex;
use crate::tensor_file::{TensorFile, TensorView, describe};

/// What `torch.compile` puts in front of the names of a module it wraps.
const COMPILED_PREFIX: &str = "_orig_mod.";

/// A model's weights, mapped and not copied. Names are those of the module tree: `_orig_mod.`, which `torch.compile`
/// leaves in front of any component, is taken away.
#[derive(Debug)]
pub struct Checkpoint {
    /// The weights file, or the index of the shards.
    path: PathBuf,
    files: Vec<TensorFile>,
    /// Name -> the file's place in `files`, and the name as the file has it.
    names: BTreeMap<String, (usize, String)>,
}

impl Checkpoint {
    /// Opens the weights of a model, each file once.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`]; [`Error::DuplicateTensor`]; [`Error::ShardIndex`] if a tensor is not in the shard that
    /// the index says, or in two.
    pub fn open(weights: &WeightFiles) -> Result<Checkpoint> {
        match weights {
            WeightFiles::One(path) => {
                Checkpoint::from_file(TensorFile::open(path, &format!("expected a checkpoint such as {WEIGHTS_FILE}"))?)
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
            if files.get(shard).is_none_or(|file| file.tensor(tensor).is_none()) {
                let elsewhere = files.iter().find(|(_, file)| file.tensor(tensor).is_some());
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
        Checkpoint::from_files(index.path().into(), files.into_values().collect())
    }

    /// The weights in `file`.
    ///
    /// # Errors
    /// [`Error::DuplicateTensor`].
    pub fn from_file(file: TensorFile) -> Result<Checkpoint> {
        Checkpoint::from_files(file.path().into(), vec![file])
    }

    fn from_files(path: PathBuf, files: Vec<TensorFile>) -> Result<Checkpoint> {
        let mut names = BTreeMap::new();
        for (place, file) in files.iter().enumerate() {
            for second in file.names() {
                let name = strip_compiled(&second);
                if let Some((_, first)) = names.insert(name.clone(), (place, second.clone())) {
                    return Err(Error::DuplicateTensor { path, name, first, second });
                }
            }
        }
        Ok(Checkpoint { path, files, names })
    }

    /// The weights file, or the index of the shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The tensor of this name, without `_orig_mod.`.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let (file, raw) = self.names.get(name)?;
        self.files[*file].tensor(raw)
    }

    /// The values of a tensor as f32, row-major; f32, f16, bf16 and f64 (rounded) are converted, on all threads.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::WrongDtype`].
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        match self.names.get(name) {
            Some((file, raw)) => self.files[*file].to_f32(raw),
            None => {
                Err(Error::MissingTensor { path: self.path.clone(), tensor: name.into(), present: self.contents() })
            }
        }
    }

    /// The tensors with element types and shapes, for messages: at most twelve and a count of the others.
    pub fn contents(&self) -> String {
        describe(self.len(), self.iter())
    }

    /// All tensors with their names, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TensorView<'_>)> {
        self.names.iter().filter_map(|(name, (file, raw))| Some((name.as_str(), self.files[*file].tensor(raw)?)))
    }
}

/// `_orig_mod.encoder._orig_mod.conv.weight` -> `encoder.conv.weight`; `x_orig_mod.weight` stays.
fn strip_compiled(name: &str) -> String {
    let whole_component = COMPILED_PREFIX.trim_end_matches('.');
    // The last component is the tensor itself and never a wrapper.
    match name.rsplit_once('.') {
        None => name.into(),
        Some((modules, tensor)) => modules
            .split('.')
            .filter(|component| *component != whole_component)
            .chain([tensor])
            .collect::<Vec<_>>()
            .join("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::Dtype;
    use safetensors::tensor::TensorView as Tensor;

    use super::*;

    /// A weights file with these tensors of one f32 each, the tensor's place in the list.
    fn write(path: &Path, names: &[&str]) {
        let values: Vec<[u8; 4]> = (0..names.len()).map(|i| (i as f32).to_le_bytes()).collect();
        let tensors = names.iter().zip(&values).map(|(n, v)| (*n, Tensor::new(Dtype::F32, vec![1], v).unwrap()));
        fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    }

    #[test]
    fn compiled_names_are_stripped_where_they_are_components() {
        assert_eq!(strip_compiled("_orig_mod.conv.weight"), "conv.weight");
        assert_eq!(strip_compiled("decoder._orig_mod.conv._orig_mod.bias"), "decoder.conv.bias");
        assert_eq!(strip_compiled("decoder.x_orig_mod.bias"), "decoder.x_orig_mod.bias");
        assert_eq!(strip_compiled("bias"), "bias");
    }

    #[test]
    fn tensors_are_found_by_stripped_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WEIGHTS_FILE);
        write(&path, &["_orig_mod.b.weight", "a._orig_mod.weight"]);
        let checkpoint = Checkpoint::open(&WeightFiles::One(path)).unwrap();
        assert_eq!(checkpoint.len(), 2);
        assert_eq!(checkpoint.to_f32("b.weight").unwrap(), [0.0]);
        let all: Vec<_> = checkpoint.iter().map(|(name, view)| (name, view.dtype, view.shape)).collect();
        assert_eq!(all, [("a.weight", Dtype::F32, &[1][..]), ("b.weight", Dtype::F32, &[1][..])]);
        assert!(checkpoint.tensor("_orig_mod.b.weight").is_none());
        assert!(checkpoint.to_f32("c").unwrap_err().to_string().contains("no tensor `c`"));
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        write(&path, &["_orig_mod.b.weight", "b.weight"]);
        let message = Checkpoint::open(&WeightFiles::One(path)).unwrap_err().to_string();
        assert!(message.contains("`_orig_mod.b.weight`") && message.contains("both become `b.weight`"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = WeightFiles::One(folder.path().join("no.safetensors"));
        let message = Checkpoint::open(&missing).unwrap_err().to_string();
        assert!(message.contains("no such file; expected a checkpoint"), "{message}");
    }

    /// Two shards with these tensors, and an index that says so but for `index`, which replaces entries.
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
        let message = complaint(&["m.x"], &["m._orig_mod.x"], serde_json::json!({}));
        assert!(message.contains("both become `m.x`"), "{message}");
    }
}
