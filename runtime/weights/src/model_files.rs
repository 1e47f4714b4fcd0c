//! Which files a model is.

use std::path::PathBuf;

use crate::shard_index::ShardIndex;

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// config.json; `None` where a file of weights is named that has none beside it.
    pub config: Option<PathBuf>,
    /// The weights.
    pub weights: WeightFiles,
}

impl ModelFiles {
    /// Every file of them: the configuration, if there is one, then those of the weights, an index included.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.config.iter().cloned().collect();
        match &self.weights {
            WeightFiles::One(path) => paths.push(path.clone()),
            WeightFiles::Shards(index) => {
                paths.push(index.path().to_owned());
                paths.extend(index.shard_names().into_iter().map(|name| index.shard_path(name)));
            }
        }
        paths
    }
}

/// Where a model's weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// One file.
    One(PathBuf),
    /// Several, with an index.
    Shards(ShardIndex),
}
