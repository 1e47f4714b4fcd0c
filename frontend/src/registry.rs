//! The models, by the class that `config.json` names. A new model is a line here and a folder.

use std::sync::Arc;

use crate::allegro;
use crate::autoencoder::Autoencoder;
use crate::autoencoder_dc;
use crate::autoencoder_kl;
use crate::autoencoder_tiny;
use crate::cogvideox;
use crate::config_json::{CLASS_FIELD, ConfigError, ConfigWarning, Configuration, Fields, object, shown};
use crate::cosmos;
use crate::flux2;
use crate::hunyuan_video;
use crate::hunyuan_video15;
use crate::ltx;
use crate::ltx2;
use crate::magvit;
use crate::mochi;
use crate::qwen_image;
use crate::qwen_image_21;
use crate::recognition::TensorShapes;
use crate::taehv;
use crate::temporal_decoder;
use crate::wan;

/// A model with its configuration.
type Model = Arc<dyn Autoencoder>;

/// A model with its configuration, and what was passed over.
type ReadModel = Result<(Model, Vec<ConfigWarning>), ConfigError>;

/// A class of models.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&Fields) -> ReadModel,
    /// The fields of the class that a configuration tells, which may leave out others; `None` where it
    /// is that of another class.
    pub(crate) told: fn(&Fields) -> Option<Fields>,
    /// See [`Configuration::OF_TENSORS`]; these fields are told already.
    pub(crate) of_tensors: fn(&TensorShapes<'_>, &Fields) -> Option<Model>,
}

pub(crate) const CLASSES: &[Class] = &[
    class::<cogvideox::Config>(),
    class::<wan::Config>(),
    class::<qwen_image::Config>(),
    class::<qwen_image_21::Config>(),
    class::<autoencoder_kl::Config>(),
    class::<hunyuan_video::Config>(),
    class::<hunyuan_video15::Config>(),
    class::<flux2::Config>(),
    class::<autoencoder_dc::Config>(),
    class::<autoencoder_tiny::Config>(),
    class::<taehv::Config>(),
    class::<ltx::Config>(),
    class::<ltx2::Config>(),
    class::<mochi::Config>(),
    class::<temporal_decoder::Config>(),
    class::<cosmos::Config>(),
    class::<magvit::Config>(),
    class::<allegro::Config>(),
];

const fn class<C: Configuration + Autoencoder + 'static>() -> Class {
    Class { name: C::CLASS, read: read::<C>, told: told::<C>, of_tensors: of_tensors::<C> }
}

fn read<C: Configuration + Autoencoder + 'static>(object: &Fields) -> ReadModel {
    let (config, warnings) = C::from_object(object)?;
    Ok((Arc::new(config), warnings))
}

fn told<C: Configuration + Autoencoder + 'static>(object: &Fields) -> Option<Fields> {
    match object.get(CLASS_FIELD) {
        Some(named) if named == C::CLASS => Some(object.clone()),
        Some(_) => C::of_authors(object),
        None => C::of_authors(object).or_else(|| {
            let fields = C::default().fields();
            let knows = |field: &String| field.starts_with('_') || fields.iter().any(|(name, _)| name == field);
            object.keys().all(knows).then(|| object.clone())
        }),
    }
}

fn of_tensors<C: Configuration + Autoencoder + 'static>(tensors: &TensorShapes<'_>, told: &Fields) -> Option<Model> {
    Some(Arc::new(C::OF_TENSORS(tensors)?.with_fields(told)?))
}

/// The configuration of an `AutoencoderKL` in the size that all the published ones have, with these
/// other fields.
macro_rules! stable_diffusion {
    ($fields:literal) => {
        concat!(
            r#"{"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
            "down_block_types": [
                "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"
            ],
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"], "#,
            $fields,
            "}"
        )
    };
}

/// A published model: its size, for those who have no checkpoint at hand.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// What people call it.
    pub name: &'static str,
    /// The text of its `config.json`.
    pub config: &'static str,
}

/// Published models, the first of which is taken where none is named.
pub fn published() -> &'static [Published] {
    &[
        Published { name: "CogVideoX", config: r#"{"_class_name": "AutoencoderKLCogVideoX"}"# },
        Published { name: "Wan-2.1", config: r#"{"_class_name": "AutoencoderKLWan"}"# },
        Published { name: "Wan-2.2", config: include_str!("wan/wan-2.2.json") },
        Published { name: "Qwen-Image", config: r#"{"_class_name": "AutoencoderKLQwenImage"}"# },
        Published { name: "Qwen-Image-2.1", config: r#"{"_class_name": "AutoencoderKLQwenImage21"}"# },
        Published { name: "HunyuanVideo", config: r#"{"_class_name": "AutoencoderKLHunyuanVideo"}"# },
        Published { name: "HunyuanVideo-1.5", config: r#"{"_class_name": "AutoencoderKLHunyuanVideo15"}"# },
        Published { name: "Mochi-1", config: r#"{"_class_name": "AutoencoderKLMochi"}"# },
        Published {
            name: "SVD",
            config: r#"{"_class_name": "AutoencoderKLTemporalDecoder", "block_out_channels": [128, 256, 512, 512],
                "down_block_types": [
                    "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"
                ],
                "layers_per_block": 2, "latent_channels": 4, "sample_size": 768}"#,
        },
        Published { name: "Cosmos-1.0", config: r#"{"_class_name": "AutoencoderKLCosmos"}"# },
        Published { name: "Allegro", config: r#"{"_class_name": "AutoencoderKLAllegro"}"# },
        Published { name: "EasyAnimate-5", config: r#"{"_class_name": "AutoencoderKLMagvit"}"# },
        Published { name: "SD-1.5", config: stable_diffusion!(r#""sample_size": 512"#) },
        Published { name: "SDXL", config: stable_diffusion!(r#""sample_size": 1024, "scaling_factor": 0.13025"#) },
        Published {
            name: "SD-3",
            config: stable_diffusion!(
                r#""sample_size": 1024, "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609,
                "use_quant_conv": false, "use_post_quant_conv": false"#
            ),
        },
        Published {
            name: "FLUX.1",
            config: stable_diffusion!(
                r#""sample_size": 1024, "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159,
                "use_quant_conv": false, "use_post_quant_conv": false"#
            ),
        },
        Published { name: "FLUX.2", config: r#"{"_class_name": "AutoencoderKLFlux2"}"# },
        Published { name: "Sana", config: include_str!("autoencoder_dc/sana.json") },
        Published { name: "TAESD", config: r#"{"_class_name": "AutoencoderTiny"}"# },
        Published { name: "TAEW2.1", config: r#"{"_class_name": "TAEHV"}"# },
        Published { name: "TAEW2.2", config: r#"{"_class_name": "TAEHV", "latent_channels": 48, "patch_size": 2}"# },
        Published { name: "TAEHV-1.5", config: r#"{"_class_name": "TAEHV", "latent_channels": 32, "patch_size": 2}"# },
        Published {
            name: "TAELTX-2",
            config: r#"{"_class_name": "TAEHV", "latent_channels": 128, "patch_size": 4,
                "encoder_time_downscale": [true, true, true], "decoder_time_upscale": [true, true, true]}"#,
        },
        Published { name: "TAEF1", config: r#"{"_class_name": "AutoencoderTiny", "latent_channels": 16}"# },
        Published { name: "LTX-Video-0.9.0", config: r#"{"_class_name": "AutoencoderKLLTXVideo"}"# },
        Published { name: "LTX-Video-0.9.1", config: include_str!("ltx/ltx-video-0.9.1.json") },
        Published { name: "LTX-Video-0.9.5", config: include_str!("ltx/ltx-video-0.9.5.json") },
        Published { name: "LTX-2", config: r#"{"_class_name": "AutoencoderKLLTX2Video", "decoder_causal": false}"# },
        Published { name: "LTX-2.3", config: include_str!("ltx2/ltx-2.3.json") },
    ]
}

/// Reads the text of `config.json`, with or without a byte order mark, as the class that it names.
/// Where it names none, as the class that knows most of its fields, in the order of the registry.
///
/// Fields that are absent have diffusers' defaults; fields that start with `_` are diffusers' own
/// notes and are passed over; any other field that is not known gives a warning.
///
/// # Errors
/// When the text is not a JSON object, is the configuration of a class that is not known, or has
/// fields of a wrong type or with values that cannot be honoured: all of them are reported.
pub fn read_config(text: &str) -> ReadModel {
    let known = || CLASSES.iter().map(|class| class.name).collect::<Vec<_>>();
    let object = object(text, &known())?;
    if let Some(named) = object.get(CLASS_FIELD) {
        let class = CLASSES.iter().find(|class| named == class.name);
        let class = class.ok_or_else(|| ConfigError::Class { known: known(), found: shown(named) })?;
        return (class.read)(&object);
    }
    let read = CLASSES.iter().map(|class| (class.read)(&object));
    let strangers = |read: &ReadModel| read.as_ref().map_or(usize::MAX, |(_, warnings)| warnings.len());
    read.min_by_key(strangers).unwrap_or_else(|| Err(ConfigError::Class { known: known(), found: "none".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latent_scaling::Unscaling;

    /// Numbers that a checkpoint holds are those of the model's own code.
    #[test]
    fn models_that_keep_statistics_undo_the_scaling_themselves() {
        for published in published() {
            let (model, _) = read_config(published.config).unwrap();
            let keeps = model.stored_statistics().is_some();
            assert!(!keeps || model.unscaling() == Unscaling::Inside, "{}", published.name);
        }
    }

    #[test]
    fn published_configurations_are_read_without_a_word() {
        for published in published() {
            let (model, warnings) = read_config(published.config).unwrap();
            assert_eq!((model.problems(), warnings), (vec![], vec![]), "{}", published.name);
        }
    }

    #[test]
    fn every_class_reads_its_own_name_and_no_other() {
        for class in CLASSES {
            let (model, _) = read_config(&format!("{{\"{CLASS_FIELD}\": \"{}\"}}", class.name)).unwrap();
            assert_eq!(model.class_name(), class.name);
        }
        let refused = read_config("{\"_class_name\": \"VQModel\"}").unwrap_err();
        assert!(refused.to_string().contains(CLASSES[0].name), "{refused}");
        assert!(read_config("{}").is_ok());
    }
}
