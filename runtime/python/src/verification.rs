//! `Session.verify`: two runs compared module by module, as a dict.

use frontend::Half;
use passes::Precision;
use serde_json::{Value, json};
use tessera::{Error, Result, RunInput, RunOptions, Vae};
use workbench::tap_file::TapFile;
use workbench::verification::{Against, usual_threshold, verify};

use crate::options::BACKENDS;
use crate::watch::Watch;

/// What is to be compared.
pub(crate) struct Job<'a> {
    pub(crate) vae: &'a Vae,
    pub(crate) half: Half,
    /// Values and [B, C, T, H, W]; by default those that a file of activations has, or a small clip
    /// of noise.
    pub(crate) input: Option<(Vec<f32>, [usize; 5])>,
    /// A backend, or a file of activations.
    pub(crate) against: &'a str,
    pub(crate) threshold: Option<f64>,
    pub(crate) options: &'a RunOptions,
}

impl Job<'_> {
    /// Runs both sides; what is found, as a dict's fields.
    ///
    /// # Errors
    /// Those of [`verify`]; [`Error::Options`] if there is nothing to encode.
    pub(crate) fn run(self, watch: &mut Watch) -> Result<Value> {
        let Self { vae, half, input, against, threshold, options } = self;
        let given = input.map(|(data, shape)| RunInput::of(half, data, shape));
        let mut options = options.clone();
        let (input, other) = match BACKENDS.iter().find(|(name, _)| *name == against) {
            Some(&(_, backend)) => {
                let input = given.map_or_else(|| small(vae, half), Ok)?;
                let other = options.clone().with_backend(backend).with_precision(Precision::F32);
                (input, Against::Run(Box::new(other)))
            }
            None => {
                let file = TapFile::open(against.as_ref())?;
                options = file.as_it_was_run(vae.model(), options)?;
                (given.map_or_else(|| file.input(), Ok)?, Against::File(file))
            }
        };
        let verification = verify(vae, &input, &options, other, watch)?;
        let threshold = threshold.unwrap_or(usual_threshold(options.precision));
        let mut told = verification.fields(threshold);
        told.insert("half".into(), input.half().to_string().into());
        told.insert("input".into(), json!(input.shape()));
        told.insert("against".into(), against.into());
        told.insert("precision".into(), options.precision.name().into());
        told.insert("isa".into(), verification.report.isa.into());
        Ok(Value::Object(told))
    }
}

/// The input where none is given.
fn small(vae: &Vae, half: Half) -> Result<RunInput> {
    match half {
        Half::Decoder => Ok(RunInput::small(vae)),
        Half::Encoder => Err(Error::Options { problem: "there is nothing to encode: give it frames".into() }),
    }
}
