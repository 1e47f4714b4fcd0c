//! Reading a configuration from the text of `config.json`: every problem at once, each under its field's name.
//!
//! What a field means and which values it may have is in [`crate::config`].

use std::fmt;

use serde_json::{Map, Value};

use crate::config::{CausalPadding, Config, ConfigProblem};

/// The class whose configurations are read.
const CLASS: &str = "AutoencoderKLCogVideoX";

/// Something in `config.json` that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// The field that `AutoencoderKLCogVideoX` does not have.
    pub field: String,
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {CLASS} has no such field; ignored", self.field)
    }
}

/// Why a `config.json` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not JSON.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// The file holds something else, as whoever read it can tell.
    #[error("not a configuration: {0}")]
    Other(String),
    /// The text is JSON, but no object.
    #[error("expected an object with the fields of {CLASS}, found {0}")]
    NotAnObject(String),
    /// The configuration of another model.
    #[error("_class_name: expected \"{CLASS}\", found {0}; this is the configuration of another model")]
    Class(String),
    /// Fields that cannot be honoured, all of them.
    #[error("{}", lines(.0))]
    Fields(Vec<ConfigProblem>),
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads the text of `config.json`, with or without a byte order mark. Fields that are absent have diffusers' defaults; fields that start with `_` are
    /// diffusers' own notes and are passed over; any other field that is not known gives a warning.
    ///
    /// # Errors
    /// When the text is not a JSON object, is the configuration of another class, or has fields of a wrong type or with
    /// values that cannot be honoured: all of them are reported.
    pub fn from_json(text: &str) -> Result<(Self, Vec<ConfigWarning>), ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let json = serde_json::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let Value::Object(object) = json else { return Err(ConfigError::NotAnObject(shown(&json))) };
        if let Some(class) = object.get("_class_name").filter(|class| *class != CLASS) {
            return Err(ConfigError::Class(shown(class)));
        }

        let mut config = Self::default();
        let mut reader = Reader { object: &object, known: Vec::new(), problems: Vec::new() };
        reader.read("in_channels", &mut config.in_channels);
        reader.read("out_channels", &mut config.out_channels);
        reader.read("down_block_types", &mut config.down_block_types);
        reader.read("up_block_types", &mut config.up_block_types);
        reader.read("block_out_channels", &mut config.block_out_channels);
        reader.read("latent_channels", &mut config.latent_channels);
        reader.read("layers_per_block", &mut config.layers_per_block);
        reader.read("act_fn", &mut config.act_fn);
        reader.read("norm_eps", &mut config.norm_eps);
        reader.read("norm_num_groups", &mut config.norm_num_groups);
        reader.read("temporal_compression_ratio", &mut config.temporal_compression_ratio);
        reader.read("sample_height", &mut config.sample_height);
        reader.read("sample_width", &mut config.sample_width);
        reader.read("scaling_factor", &mut config.scaling_factor);
        reader.read("shift_factor", &mut config.shift_factor);
        reader.read("latents_mean", &mut config.latents_mean);
        reader.read("latents_std", &mut config.latents_std);
        reader.read("force_upcast", &mut config.force_upcast);
        reader.read("use_quant_conv", &mut config.use_quant_conv);
        reader.read("use_post_quant_conv", &mut config.use_post_quant_conv);
        reader.read("invert_scale_latents", &mut config.invert_scale_latents);
        reader.read("pad_mode", &mut config.pad_mode);

        let Reader { known, mut problems, .. } = reader;
        // A field that could not be read still has its default, which nothing should be held against.
        let unread: Vec<String> = problems.iter().map(|problem| problem.field.clone()).collect();
        let judged = |fields: &[&str]| !fields.iter().any(|field| unread.iter().any(|name| name == field));
        problems.extend(config.violations().into_iter().filter(|v| judged(&v.fields)).map(|v| v.problem));
        if !problems.is_empty() {
            return Err(ConfigError::Fields(problems));
        }
        let warnings = object
            .keys()
            .filter(|name| !name.starts_with('_') && !known.contains(&name.as_str()))
            .map(|name| ConfigWarning { field: name.clone() })
            .collect();
        Ok((config, warnings))
    }
}

/// The fields of an object, the names that were asked for, and what was wrong with them.
struct Reader<'a> {
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
    problems: Vec<ConfigProblem>,
}

impl Reader<'_> {
    /// Overwrites `target` by the field, if it is there.
    fn read<T: Field>(&mut self, name: &'static str, target: &mut T) {
        self.known.push(name);
        let Some(json) = self.object.get(name) else { return };
        match T::from_json(json) {
            Some(value) => *target = value,
            None => {
                let message = format!("expected {}, found {}", T::expected(), shown(json));
                self.problems.push(ConfigProblem { field: name.to_owned(), message });
            }
        }
    }
}

/// A value as it stood in the text, cut when it is long.
fn shown(json: &Value) -> String {
    const MOST: usize = 80;
    let text = json.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A Rust type that a field can have.
trait Field: Sized {
    /// What should have been written, for error messages.
    fn expected() -> String;

    /// The value; `None` when the JSON is of another type.
    fn from_json(json: &Value) -> Option<Self>;
}

/// An element of a list, and how a list of them is called.
trait Element: Field {
    const PLURAL: &'static str;
}

impl Field for usize {
    fn expected() -> String {
        "a positive whole number".to_owned()
    }

    /// Zero is a matter of what is allowed, as an upper bound is; see [`Config::problems`].
    fn from_json(json: &Value) -> Option<Self> {
        json.as_u64().and_then(|n| n.try_into().ok())
    }
}

impl Element for usize {
    const PLURAL: &'static str = "positive whole numbers";
}

impl Field for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn from_json(json: &Value) -> Option<Self> {
        json.as_f64()
    }
}

impl Element for f64 {
    const PLURAL: &'static str = "numbers";
}

impl Field for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_json(json: &Value) -> Option<Self> {
        json.as_bool()
    }
}

impl Field for String {
    fn expected() -> String {
        "text".to_owned()
    }

    fn from_json(json: &Value) -> Option<Self> {
        json.as_str().map(str::to_owned)
    }
}

impl Element for String {
    const PLURAL: &'static str = "texts";
}

impl Field for CausalPadding {
    fn expected() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|padding| format!("\"{padding}\"")).collect();
        names.join(" or ")
    }

    fn from_json(json: &Value) -> Option<Self> {
        Self::ALL.into_iter().find(|padding| json == padding.name())
    }
}

impl<T: Element> Field for Vec<T> {
    fn expected() -> String {
        format!("a list of {}", T::PLURAL)
    }

    fn from_json(json: &Value) -> Option<Self> {
        json.as_array()?.iter().map(T::from_json).collect()
    }
}

impl<T: Field> Field for Option<T> {
    fn expected() -> String {
        format!("{} or null", T::expected())
    }

    fn from_json(json: &Value) -> Option<Self> {
        if json.is_null() { Some(None) } else { T::from_json(json).map(Some) }
    }
}
