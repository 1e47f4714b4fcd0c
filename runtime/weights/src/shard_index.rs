//! The index of weights that are split into shards, `*.safetensors.index.json` or
//! `*.bin.index.json`: which tensor is in which file.
//!
//! The part of it that is read:
//!
//! ```json
//! {"weight_map": {"decoder.conv_in.conv.weight": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
//! ```
//!
//! A shard is named by its plain file name and lies beside the index: no folder, no `..`, nothing
//! absolute, on no system's terms. Links are followed, since the hub's cache is made of them: who
//! made the folder may link out of it, who wrote the index may not. Opens no shard: that is
//! [`crate::checkpoint`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use files::text_file::{self, NotText};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::error::{Error, Result};

/// How the names of shards end.
const SHARD_ENDINGS: [&str; 2] = [".safetensors", ".bin"];

/// An index that was read and checked for itself, without a look into the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIndex {
    path: PathBuf,
    /// Tensor -> file name of its shard.
    weight_map: BTreeMap<String, String>,
}

/// The index as JSON has it; all other fields are passed over.
#[derive(Deserialize)]
struct Json {
    #[serde(deserialize_with = "distinct")]
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// Reads the index at `path`.
    ///
    /// # Errors
    /// [`files::Error::MissingFile`], [`files::Error::Read`]; [`Error::ShardIndex`] with the field
    /// or tensor that is wrong.
    pub fn read(path: &Path) -> Result<ShardIndex> {
        let read_error = |cause: std::io::Error| match cause.kind() {
            ErrorKind::NotFound => {
                files::Error::MissingFile { path: path.into(), hint: "expected an index of shards".into() }
            }
            _ => files::Error::Read { path: path.into(), cause },
        };
        let fault = |problem: String| Error::ShardIndex { path: path.into(), problem };
        let text = text_file::read_json(path).map_err(|cause| match cause {
            NotText::Read(cause) => read_error(cause).into(),
            NotText::Other(problem) => fault(problem),
        })?;
        let Json { weight_map } = serde_json::from_str(&text).map_err(|cause| fault(cause.to_string()))?;
        if weight_map.is_empty() {
            return Err(fault("`weight_map` is empty".into()));
        }
        for (tensor, shard) in &weight_map {
            if !is_plain_file_name(shard) {
                return Err(fault(format!(
                    "`weight_map` has tensor `{tensor}` in `{}`; expected the name of a .safetensors or .bin file \
                     beside the index, without any folder",
                    shard.escape_debug()
                )));
            }
        }
        Ok(ShardIndex { path: path.into(), weight_map })
    }

    /// The index itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file names of the shards, each once, in order.
    pub fn shard_names(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }

    /// Where a shard of this name is.
    pub fn shard_path(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// Each tensor with the file name of its shard.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weight_map.iter().map(|(tensor, shard)| (tensor.as_str(), shard.as_str()))
    }
}

/// Whether `name` names a file beside the index on every system: Windows has other separators,
/// drives and streams (`:`).
fn is_plain_file_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
    SHARD_ENDINGS.iter().any(|ending| name.ends_with(ending)) && !name.starts_with('.') && !name.contains(forbidden)
}

/// A map of strings in which no key comes twice; JSON allows it, and most readers take the last.
fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Distinct;

    impl<'de> Visitor<'de> for Distinct {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`weight_map` to be an object of tensor names and file names")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(tensor) = access.next_key::<String>()? {
                let shard = access
                    .next_value::<String>()
                    .map_err(|cause| A::Error::custom(format!("`weight_map.{tensor}`: {cause}")))?;
                if map.contains_key(&tensor) {
                    return Err(A::Error::custom(format!("`weight_map` has tensor `{tensor}` twice")));
                }
                map.insert(tensor, shard);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Distinct)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use files::text_file::SIZE_LIMIT;

    use super::*;

    fn read(text: &str) -> Result<ShardIndex> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        ShardIndex::read(file.path())
    }

    fn complaint(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn an_index_is_read() {
        let index = read(
            r#"{"metadata": {"total_size": 8}, "weight_map": {"b": "y.safetensors", "a": "x.safetensors", "c": "y.safetensors"}}"#,
        )
        .unwrap();
        assert_eq!(index.shard_names().into_iter().collect::<Vec<_>>(), ["x.safetensors", "y.safetensors"]);
        assert_eq!(index.tensors().next(), Some(("a", "x.safetensors")));
        assert_eq!(index.shard_path("x.safetensors").parent(), index.path().parent());
    }

    #[test]
    fn no_shard_leaves_the_folder() {
        for shard in [
            "../x.safetensors",
            "/etc/x.safetensors",
            "sub/x.safetensors",
            "..\\x.safetensors",
            "C:\\x.safetensors",
            "C:x.safetensors",
            "\\\\host\\x.safetensors",
            "./x.safetensors",
            ".safetensors",
            "",
            "x.txt",
            ".bin",
            "../x.bin",
            "x\n.safetensors",
            "x\0.safetensors",
        ] {
            let text = serde_json::json!({"weight_map": {"t": shard}}).to_string();
            let message = complaint(&text);
            assert!(message.contains("`t`") && message.contains("without any folder"), "{shard:?}: {message}");
        }
    }

    #[test]
    fn what_is_no_index_is_refused_by_field() {
        assert!(complaint("{").contains("EOF while parsing"));
        assert!(complaint("{}").contains("missing field `weight_map`"));
        assert!(complaint(r#"{"weight_map": []}"#).contains("`weight_map` to be an object"));
        assert!(complaint(r#"{"weight_map": {}}"#).contains("`weight_map` is empty"));
        assert!(complaint(r#"{"weight_map": {"t": 1}}"#).contains("`weight_map.t`"));
        let twice = r#"{"weight_map": {"t": "a.safetensors", "t": "b.safetensors"}}"#;
        assert!(complaint(twice).contains("tensor `t` twice"));
        let long = format!(r#"{{"weight_map": {{}}, "metadata": "{}"}}"#, "x".repeat(SIZE_LIMIT as usize));
        assert!(complaint(&long).contains("larger than 16777216 bytes"));
        let folder = tempfile::tempdir().unwrap();
        assert!(ShardIndex::read(folder.path()).unwrap_err().to_string().contains("not a regular file"));
        let missing = ShardIndex::read(&folder.path().join("x")).unwrap_err().to_string();
        assert!(missing.contains("no such file; expected an index"), "{missing}");
    }
}
