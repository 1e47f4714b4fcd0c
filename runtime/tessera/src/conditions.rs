//! What a call gives a model beside its video: the numbers and the noise of its conditions
//! ([`frontend::condition`]); and the inputs of each step that come of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use frontend::{Autoencoder, Condition, ConditionKind, Half};

use crate::error::{Error, Result};
use crate::posterior::Noise;
use crate::tensor_file::TensorFile;

/// What the names of noise's planes begin with, in models and in files.
const NOISE: &str = "noise.";

/// What is asked for. What is not is as pipelines have it; noise is that of seed 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions {
    numbers: BTreeMap<String, Vec<f32>>,
    noise: Option<NoiseSource>,
}

/// Where noise is from. All samples of a call have the same.
#[derive(Debug, Clone, PartialEq)]
pub enum NoiseSource {
    /// [`Noise`] of this seed: the planes of the model's conditions one behind the other, each row
    /// by row over the whole frame, so that tiles have what whole frames have there.
    Seed(u64),
    /// These planes of whole frames, row by row, by the names of the conditions.
    Given(Arc<BTreeMap<String, Vec<f32>>>),
}

impl NoiseSource {
    /// The planes in a file, its tensors `noise.N`: the N-th draw, [H, W]. `None` if it has none.
    ///
    /// # Errors
    /// [`files::Error::WrongDtype`] of one that is no floats.
    pub fn of_file(file: &TensorFile) -> Result<Option<NoiseSource>> {
        let names = file.names().into_iter().filter(|name| name.starts_with(NOISE));
        let planes = names.map(|name| Ok((name.clone(), file.to_f32(&name)?)));
        let planes: BTreeMap<String, Vec<f32>> = planes.collect::<Result<_>>()?;
        Ok((!planes.is_empty()).then(|| NoiseSource::Given(Arc::new(planes))))
    }

    /// [`Self::of_file`] of the file at `path`, which must have some.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`] and [`Self::of_file`]; [`files::Error::MissingTensor`].
    pub fn read(path: &Path) -> Result<NoiseSource> {
        let file = TensorFile::open(path, "expected planes of noise, `noise.0`, `noise.1` ...")?;
        NoiseSource::of_file(&file)?.ok_or_else(|| {
            let tensor = format!("{NOISE}0");
            files::Error::MissingTensor { path: path.into(), tensor, present: file.contents() }.into()
        })
    }
}

impl Conditions {
    /// Sets the numbers of the condition of this name: one for all samples, or one for each.
    #[must_use]
    pub fn with_numbers(mut self, name: &str, numbers: Vec<f32>) -> Self {
        self.numbers.insert(name.to_owned(), numbers);
        self
    }

    /// Sets where noise is from.
    #[must_use]
    pub fn with_noise(mut self, noise: NoiseSource) -> Self {
        self.noise = Some(noise);
        self
    }

    /// Refuses what neither half of the model takes.
    fn check(&self, model: &dyn Autoencoder) -> Result<()> {
        let taken: Vec<Condition> = Half::ALL.into_iter().flat_map(|half| model.conditions(half)).collect();
        let named = |name: &str, is_number: bool| {
            let is_right = |condition: &Condition| {
                condition.name == name && matches!(condition.kind, ConditionKind::Number { .. }) == is_number
            };
            taken.iter().any(is_right)
        };
        let refused = |what: &str| Err(Error::Condition { problem: format!("{} takes no {what}", model.class_name()) });
        if let Some(name) = self.numbers.keys().find(|name| !named(name, true)) {
            return refused(name);
        }
        match &self.noise {
            Some(NoiseSource::Given(planes)) => match planes.keys().find(|name| !named(name, false)) {
                Some(name) => refused(name),
                None => Ok(()),
            },
            Some(NoiseSource::Seed(_)) if taken.iter().all(|c| matches!(c.kind, ConditionKind::Number { .. })) => {
                refused("noise, and so no seed of it")
            }
            _ => Ok(()),
        }
    }
}

/// What a call gives to all steps of a half, in the order of their inputs.
#[derive(Debug, Default)]
pub(crate) struct CallConditions(Vec<Given>);

/// What a condition is given.
#[derive(Debug)]
enum Given {
    /// A number for all samples, or one for each.
    Numbers(Vec<f32>),
    /// A plane over whole frames.
    Plane { scale: usize, width: usize, values: Vec<f32> },
}

impl CallConditions {
    /// What `asked` gives to steps of `half` over an input [B, C, T, H, W].
    ///
    /// # Errors
    /// [`Error::Condition`] if the model takes no such thing, needs one that is not there, or takes
    /// it in another number; [`Error::Memory`].
    pub(crate) fn new(model: &dyn Autoencoder, half: Half, shape: [usize; 5], asked: &Conditions) -> Result<Self> {
        asked.check(model)?;
        let seed = match asked.noise {
            Some(NoiseSource::Seed(seed)) => seed,
            _ => 0,
        };
        let mut noise = Noise::new(seed);
        let [samples, .., height, width] = shape;
        let given = model.conditions(half).into_iter().map(|Condition { name, kind }| match kind {
            ConditionKind::Number { usual } => numbers(model, &name, asked.numbers.get(&name), usual, samples),
            ConditionKind::Noise { scale } => {
                let [height, width] = [height, width].map(|size| size.saturating_mul(scale));
                let given = match &asked.noise {
                    Some(NoiseSource::Given(planes)) => Some(planes.get(&name)),
                    _ => None,
                };
                let values = plane(&name, given, [height, width], &mut noise)?;
                Ok(Given::Plane { scale, width, values })
            }
        });
        Ok(Self(given.collect::<Result<_>>()?))
    }

    /// The inputs of a step over these rows and columns of a sample's frames.
    pub(crate) fn of_step(&self, sample: usize, rows: &Range<usize>, columns: &Range<usize>) -> Vec<Vec<f32>> {
        let input = |given: &Given| match given {
            Given::Numbers(numbers) => vec![numbers[sample % numbers.len()]],
            Given::Plane { scale, width, values } => {
                let fine = |range: &Range<usize>| range.start * scale..range.end * scale;
                fine(rows).flat_map(|row| &values[row * width..][fine(columns)]).copied().collect()
            }
        };
        self.0.iter().map(input).collect()
    }

    /// Bytes that planes over frames of this height and width take.
    pub(crate) fn bytes(model: &dyn Autoencoder, half: Half, [height, width]: [usize; 2]) -> u64 {
        let values = |condition: Condition| match condition.kind {
            ConditionKind::Number { .. } => 0,
            ConditionKind::Noise { scale } => {
                height.saturating_mul(scale).saturating_mul(width.saturating_mul(scale)) as u64
            }
        };
        let bytes = |values: u64| values.saturating_mul(size_of::<f32>() as u64);
        model.conditions(half).into_iter().map(values).map(bytes).fold(0, u64::saturating_add)
    }
}

/// The numbers of a condition, one or one for each sample.
fn numbers(
    model: &dyn Autoencoder,
    name: &str,
    asked: Option<&Vec<f32>>,
    usual: Option<f64>,
    samples: usize,
) -> Result<Given> {
    let refused = |problem: String| Err(Error::Condition { problem });
    let Some(numbers) = asked else {
        return match usual {
            Some(usual) => Ok(Given::Numbers(vec![usual as f32])),
            None => refused(format!("{} needs a {name}: one number, or one for each sample", model.class_name())),
        };
    };
    if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
        return refused(format!("the {name} must be a number, found {number}"));
    }
    if numbers.len() != 1 && numbers.len() != samples {
        let found = numbers.len();
        return refused(format!(
            "a {name} is one for all samples, which are {samples}, or one for each; found {found}"
        ));
    }
    Ok(Given::Numbers(numbers.clone()))
}

/// A plane that was given, or the next one of `noise`; `Some(None)` is one that should have been
/// given.
fn plane(
    name: &str,
    given: Option<Option<&Vec<f32>>>,
    [height, width]: [usize; 2],
    noise: &mut Noise,
) -> Result<Vec<f32>> {
    let refused = |problem: String| Err(Error::Condition { problem });
    let count = height.saturating_mul(width);
    match given {
        Some(Some(values)) if values.len() == count => Ok(values.clone()),
        Some(Some(values)) => {
            refused(format!("{name} must have {height}x{width} (height x width) values, found {}", values.len()))
        }
        Some(None) => refused(format!("{name} is not among the planes of noise that were given")),
        None => {
            let mut values = vec![];
            values
                .try_reserve_exact(count)
                .map_err(|cause| Error::Memory { step: name.to_owned(), problem: cause.to_string() })?;
            values.extend(noise.take(count).map(|value| value as f32));
            Ok(values)
        }
    }
}

#[cfg(test)]
mod tests {
    use frontend::TIMESTEP;

    use super::*;

    fn published(name: &str) -> Arc<dyn Autoencoder> {
        let model = frontend::published().iter().find(|model| model.name == name).unwrap();
        frontend::read_config(model.config).unwrap().0
    }

    const LATENTS: [usize; 5] = [3, 128, 2, 4, 6];

    fn of(name: &str, asked: &Conditions) -> Result<CallConditions> {
        CallConditions::new(&*published(name), Half::Decoder, LATENTS, asked)
    }

    fn complaint(name: &str, asked: &Conditions) -> String {
        of(name, asked).unwrap_err().to_string()
    }

    #[test]
    fn what_a_model_does_not_take_is_refused_by_name() {
        let asked = Conditions::default().with_numbers(TIMESTEP, vec![0.5]);
        assert_eq!(complaint("CogVideoX", &asked), "AutoencoderKLCogVideoX takes no timestep");
        assert_eq!(complaint("LTX-2", &asked), "AutoencoderKLLTX2Video takes no timestep");
        let seed = Conditions::default().with_noise(NoiseSource::Seed(1));
        assert_eq!(complaint("LTX-Video-0.9.5", &seed), "AutoencoderKLLTXVideo takes no noise, and so no seed of it");
        let given = NoiseSource::Given(Arc::new([("noise.99".to_owned(), vec![])].into()));
        let given = Conditions::default().with_noise(given);
        assert_eq!(complaint("LTX-Video-0.9.1", &given), "AutoencoderKLLTXVideo takes no noise.99");
        // What the decoder takes, an encoder passes over.
        let model = published("LTX-Video-0.9.5");
        let encoder = CallConditions::new(&*model, Half::Encoder, [1, 3, 1, 32, 32], &asked).unwrap();
        assert!(encoder.of_step(0, &(0..32), &(0..32)).is_empty());
    }

    #[test]
    fn numbers_are_one_for_all_or_one_for_each() {
        let timesteps = |numbers: &[f32]| {
            let asked = Conditions::default().with_numbers(TIMESTEP, numbers.to_vec());
            let given = of("LTX-Video-0.9.5", &asked)?;
            Ok::<_, Error>([0, 1, 2].map(|sample| given.of_step(sample, &(0..4), &(0..6))[0][0]))
        };
        assert_eq!(timesteps(&[0.25]).unwrap(), [0.25; 3]);
        assert_eq!(timesteps(&[0.25, 0.5, 1.0]).unwrap(), [0.25, 0.5, 1.0]);
        let refused = |numbers| timesteps(numbers).unwrap_err().to_string();
        assert_eq!(refused(&[0.0; 2]), "a timestep is one for all samples, which are 3, or one for each; found 2");
        assert_eq!(refused(&[f32::NAN]), "the timestep must be a number, found NaN");
        let usual = of("LTX-Video-0.9.5", &Conditions::default()).unwrap();
        assert_eq!(usual.of_step(0, &(0..4), &(0..6)), [[0.0]]);
        let needed = numbers(&*published("LTX-2"), "gain", None, None, 1).unwrap_err().to_string();
        assert_eq!(needed, "AutoencoderKLLTX2Video needs a gain: one number, or one for each sample");
    }

    #[test]
    fn noise_is_that_of_the_place_whatever_the_tile() {
        let model = published("LTX-Video-0.9.1");
        let with = |seed| of("LTX-Video-0.9.1", &Conditions::default().with_noise(NoiseSource::Seed(seed))).unwrap();
        let whole = with(7).of_step(0, &(0..4), &(0..6));
        assert_eq!(whole.len(), model.conditions(Half::Decoder).len());
        // Planes in their order: the first of 8x12 values.
        let mut noise = Noise::new(7).map(|value| value as f32);
        let mut next = |count: usize| noise.by_ref().take(count).collect::<Vec<_>>();
        assert_eq!((whole[1].clone(), whole[2].clone()), (next(96), next(96)));
        let tile = with(7).of_step(2, &(1..3), &(2..5));
        let rows = (2..6).flat_map(|row| &whole[1][row * 12..][4..10]).copied();
        assert_eq!(tile[1], rows.collect::<Vec<_>>());
        assert!(with(8).of_step(0, &(0..4), &(0..6))[1] != whole[1]);
        let usual = of("LTX-Video-0.9.1", &Conditions::default()).unwrap();
        assert_eq!(usual.of_step(0, &(0..4), &(0..6)), with(0).of_step(0, &(0..4), &(0..6)));
        let values: usize = whole[1..].iter().map(Vec::len).sum();
        assert_eq!(CallConditions::bytes(&*model, Half::Decoder, [4, 6]), 4 * values as u64);
    }

    #[test]
    fn planes_are_read_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("noise.safetensors");
        let bytes: Vec<u8> = [0.5_f32, -2.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let write = |names: &[&str]| {
            let plane = || safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, 2], &bytes).unwrap();
            let planes = names.iter().map(|name| (*name, plane()));
            std::fs::write(&path, safetensors::serialize(planes, None).unwrap()).unwrap();
        };
        write(&["noise.0", "noise.1", "input"]);
        let planes = ["noise.0", "noise.1"].map(|name| (name.to_owned(), vec![0.5, -2.0]));
        assert_eq!(NoiseSource::read(&path).unwrap(), NoiseSource::Given(Arc::new(planes.into())));
        write(&["input"]);
        let error = NoiseSource::read(&path).unwrap_err().to_string();
        assert!(error.contains("noise.0") && error.contains("input"), "{error}");
    }

    #[test]
    fn planes_that_are_given_have_the_size_of_whole_frames() {
        let given = |planes: &[(usize, usize)]| {
            let planes = planes.iter().map(|&(draw, count)| (format!("noise.{draw}"), vec![draw as f32; count]));
            let given = NoiseSource::Given(Arc::new(planes.collect()));
            of("LTX-Video-0.9.1", &Conditions::default().with_noise(given))
        };
        // 14 draws on the first level, 12 and 10 on the others.
        let counts = |draw| {
            if draw < 14 {
                96
            } else if draw < 26 {
                384
            } else {
                1536
            }
        };
        let all: Vec<_> = (0..36).map(|draw| (draw, counts(draw))).collect();
        assert_eq!(given(&all).unwrap().of_step(0, &(0..1), &(0..1))[36], [35.0; 64]);
        let missing = given(&all[..35]).unwrap_err().to_string();
        assert_eq!(missing, "noise.35 is not among the planes of noise that were given");
        let short = given(&[&all[1..], &[(0, 95)]].concat()).unwrap_err().to_string();
        assert_eq!(short, "noise.0 must have 8x12 (height x width) values, found 95");
    }
}
