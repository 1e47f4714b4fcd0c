//! Which models a file of tensors may hold, told by the names and shapes in it, for files that come
//! without a `config.json`.
//!
//! A class looks for its own modules among the names, in every spelling that it knows, and reads
//! numbers of channels and blocks off the shapes. What it finds is a guess that may be bold: whoever
//! asks compares every name and shape of the model with the file's. What tensors do not show (groups
//! of a norm, numbers by which latents are scaled) is [`Told`], by the file or by whoever names it;
//! else it is that of the published models with the same tensors, else the class's default.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::autoencoder::Autoencoder;
use crate::config_json::{CLASS_FIELD, Fields, object};
use crate::parameters::parameters;
use crate::registry::{CLASSES, Class, published};
use crate::step::Half;

/// Names and shapes of a file's tensors, whatever stands in front of a model's names.
#[derive(Debug, Default)]
pub struct TensorShapes<'a> {
    /// By every end of a name that begins behind a dot, and the whole name.
    by_end: HashMap<&'a str, &'a [usize]>,
}

impl<'a> FromIterator<(&'a str, &'a [usize])> for TensorShapes<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [usize])>>(tensors: I) -> Self {
        let mut by_end = HashMap::new();
        for (name, shape) in tensors {
            let behind_dots = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
            for end in std::iter::once(name).chain(behind_dots) {
                by_end.entry(end).or_insert(shape);
            }
        }
        Self { by_end }
    }
}

impl TensorShapes<'_> {
    /// Whether a name is this one, or ends with it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_end.contains_key(name)
    }

    /// Whether there is a tensor of this half, by its name.
    fn has_half(&self, half: Half) -> bool {
        let prefix = format!("{half}.");
        self.by_end.keys().any(|name| name.starts_with(&prefix))
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.by_end.get(name).copied()
    }

    /// Number of axes of a tensor.
    pub(crate) fn rank(&self, name: &str) -> Option<usize> {
        self.by_end.get(name).map(|shape| shape.len())
    }

    /// The numbers in a list of layers that have tensors, in order.
    pub(crate) fn numbers(&self, list: &str) -> BTreeSet<usize> {
        let number = |name: &str| name.strip_prefix(list)?.strip_prefix('.')?.split('.').next()?.parse().ok();
        self.by_end.keys().filter_map(|name| number(name)).collect()
    }

    /// How long a list of layers is that has these tensors, where some of it may have none; `None`
    /// where there is no such list, or one longer than any model's.
    pub(crate) fn length(&self, list: &str) -> Option<usize> {
        const MOST: usize = 1 << 10;
        self.numbers(list).last().filter(|last| **last < MOST).map(|last| last + 1)
    }

    /// Length of an axis of the first of these tensors that is there.
    fn axis(&self, names: &[&str], axis: usize) -> Option<usize> {
        let shape = names.iter().find_map(|name| self.by_end.get(name))?;
        shape.get(axis).copied()
    }

    /// Output channels of the first of these weights that is there.
    pub(crate) fn outputs(&self, weights: &[&str]) -> Option<usize> {
        self.axis(weights, 0)
    }

    /// Height of the kernel of the first of these weights, of four axes, that is there.
    pub(crate) fn height(&self, weights: &[&str]) -> Option<usize> {
        self.axis(weights, 2)
    }

    /// Input channels of the first of these weights that is there.
    pub(crate) fn inputs(&self, weights: &[&str]) -> Option<usize> {
        self.axis(weights, 1)
    }
}

/// What finds a configuration in a file's tensors: the one of a model that they may hold, one half of
/// it at least; `None` where they do not look like one. It need not be right.
pub type OfTensors<C> = fn(&TensorShapes<'_>) -> Option<C>;

/// How a spelling calls the first convolution of a residual block of a level, each level and block
/// by its number: `encoder.down_blocks.0.resnets.1.conv1.weight`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockNames {
    /// The list of levels.
    pub(crate) levels: &'static str,
    /// A level's list of blocks.
    pub(crate) blocks: &'static str,
    /// The weight in a block.
    pub(crate) weight: &'static str,
}

/// Output channels of the first block of each level, from the highest resolution down, and how many
/// blocks a level has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) channels: Vec<usize>,
    pub(crate) blocks: usize,
}

impl Levels {
    /// The levels in the first of these spellings that has any, by their numbers from the highest
    /// resolution down.
    pub(crate) fn downwards(tensors: &TensorShapes<'_>, spellings: &[BlockNames]) -> Option<Self> {
        let levels = spellings.iter().find_map(|names| names.widths(tensors))?;
        Some(Self { blocks: levels[0].len(), channels: levels.iter().map(|level| level[0]).collect() })
    }

    /// The same of levels that are numbered from the lowest resolution up.
    pub(crate) fn upwards(tensors: &TensorShapes<'_>, spellings: &[BlockNames]) -> Option<Self> {
        let mut levels = Self::downwards(tensors, spellings)?;
        levels.channels.reverse();
        Some(levels)
    }
}

impl Levels {
    /// The levels of the encoder, or where there is none, of the decoder, whose levels are numbered
    /// from the lowest resolution up and have one block more.
    pub(crate) fn of_halves(
        tensors: &TensorShapes<'_>,
        encoder: &[BlockNames],
        decoder: &[BlockNames],
    ) -> Option<Self> {
        Self::downwards(tensors, encoder).or_else(|| {
            let levels = Self::upwards(tensors, decoder)?;
            Some(Self { blocks: levels.blocks.checked_sub(1)?, ..levels })
        })
    }
}

impl BlockNames {
    /// Output channels of every block of every level; `None` if there are none, else no level is
    /// without blocks.
    fn widths(self, tensors: &TensorShapes<'_>) -> Option<Vec<Vec<usize>>> {
        let Self { levels, blocks, weight } = self;
        let level = |level: usize| {
            let block = |block: usize| tensors.outputs(&[&format!("{levels}.{level}.{blocks}.{block}.{weight}")]);
            Some((0..).map_while(block).collect::<Vec<_>>()).filter(|blocks| !blocks.is_empty())
        };
        Some((0..).map_while(level).collect::<Vec<_>>()).filter(|levels| !levels.is_empty())
    }
}

/// A model that a file may hold.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// The model.
    pub model: Arc<dyn Autoencoder>,
    /// What people call it, if it is one of the published.
    pub published: Option<&'static str>,
    /// What people call the published models of its class.
    pub relatives: Vec<&'static str>,
}

/// Fields of a configuration that are told beside a file's tensors, some or all.
#[derive(Clone, Debug, Default)]
pub struct Told {
    fields: Fields,
}

impl Told {
    /// The fields in the text of a configuration: a class's, or its authors', and of one of a whole
    /// pipeline those under `vae`. `None` where it is no JSON object.
    pub fn read(text: &str) -> Option<Self> {
        let mut fields = object(text, &[]).ok()?;
        match fields.remove("vae") {
            Some(Value::Object(fields)) => Some(Self { fields }),
            Some(_) => None,
            None => Some(Self { fields }),
        }
    }

    /// Names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }
}

/// The models that a file with these tensors may hold, in the order of the registry: every
/// published one that has as many tensors of the same names and shapes as its class finds, or what
/// its class finds; all of them with the fields that are told. [`crate::Configured::problems`] of
/// those tell what could not be read off tensors.
pub fn recognise(tensors: &TensorShapes<'_>, told: &Told) -> Vec<Recognised> {
    let mut recognised = vec![];
    for class in CLASSES {
        let Some(told) = (class.told)(&told.fields) else { continue };
        let Some(found) = (class.of_tensors)(tensors, &told) else { continue };
        let published: Vec<_> = published_of(class, &told).collect();
        let relatives: Vec<_> = published.iter().map(|(name, _)| *name).collect();
        let of = |model, published| Recognised { model, published, relatives: relatives.clone() };
        let same = published.into_iter().filter(|(_, model)| have_same_tensors(tensors, &**model, &*found));
        let mut same: Vec<_> = same.map(|(name, model)| of(model, Some(name))).collect();
        if same.is_empty() {
            same.push(of(found, None));
        }
        recognised.append(&mut same);
    }
    recognised
}

/// The published models of a class, with these fields.
fn published_of(class: &'static Class, told: &Fields) -> impl Iterator<Item = (&'static str, Arc<dyn Autoencoder>)> {
    published().iter().filter_map(move |published| {
        let mut fields = object(published.config, &[class.name]).ok()?;
        if fields.get(CLASS_FIELD)? != class.name {
            return None;
        }
        fields.extend(told.clone());
        Some((published.name, (class.read)(&fields).ok()?.0))
    })
}

/// Whether two models have tensors of the same names and shapes in the halves that are there; not
/// where one cannot be declared.
fn have_same_tensors(tensors: &TensorShapes<'_>, published: &dyn Autoencoder, found: &dyn Autoencoder) -> bool {
    let are_same = |half| matches!((parameters(published, half), parameters(found, half)), (Ok(a), Ok(b)) if a == b);
    // Where names tell no half, both count.
    let is_told = Half::ALL.into_iter().any(|half| tensors.has_half(half));
    Half::ALL.into_iter().filter(|half| !is_told || tensors.has_half(*half)).all(are_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both halves' tensors of a model and the statistics of its latents, under a prefix.
    fn tensors(model: &dyn Autoencoder) -> Vec<(String, Vec<usize>)> {
        let of = |half| parameters(model, half).unwrap();
        let both = of(Half::Encoder).into_iter().chain(of(Half::Decoder));
        let both = both.map(|(name, shape)| (name, shape.to_vec()));
        let statistics = model.stored_statistics().into_iter().flat_map(|stored| stored.names());
        let all = both.chain(statistics.map(|name| (name.to_owned(), vec![1])));
        all.map(|(name, shape)| (format!("vae.model.{name}"), shape)).collect()
    }

    /// All published models.
    fn all() -> impl Iterator<Item = (&'static str, Arc<dyn Autoencoder>)> {
        CLASSES.iter().flat_map(|class| published_of(class, &Fields::new()).collect::<Vec<_>>())
    }

    #[test]
    fn published_models_are_recognised_by_their_tensors() {
        for (name, model) in all() {
            let tensors = tensors(&*model);
            let found =
                recognise(&tensors.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect(), &Told::default());
            let found = found.iter().find(|found| found.published == Some(name));
            let found = found.unwrap_or_else(|| panic!("{name} is not recognised"));
            assert_eq!(found.model.fields(), model.fields());
        }
    }

    #[test]
    fn decoders_alone_are_recognised() {
        for (name, model) in all() {
            let tensors: Vec<_> = tensors(&*model);
            let decoder =
                tensors.iter().filter(|(name, _)| !name.contains("encoder.") && !name.contains(".quant_conv"));
            let shapes = decoder.map(|(name, shape)| (name.as_str(), &shape[..])).collect();
            let found = recognise(&shapes, &Told::default());
            assert!(found.iter().any(|found| found.published == Some(name)), "{name}");
        }
    }

    #[test]
    fn other_files_are_no_models() {
        let names = [
            "blocks.0.attn.weight",
            "encoder.weight",
            "decoder",
            "",
            ".",
            "decoder.conv_in.weight",
            "encoder.conv_in.conv.weight",
            "encoder.conv_out.conv.weight",
            "encoder.down_blocks.18446744073709551615.resnets.0.conv1.conv.weight",
        ];
        for shape in [&[4, 4][..], &[], &[usize::MAX; 5], &[0; 5]] {
            let found = recognise(&names.into_iter().map(|name| (name, shape)).collect(), &Told::default());
            assert!(found.is_empty(), "{found:?}");
        }
    }
}
