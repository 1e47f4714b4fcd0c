//! Reading a configuration from the text of `config.json`: every problem at once, each under its
//! field's name.
//!
//! What a field means and which values it may have is the model's; which model it is,
//! [`crate::registry`] decides.

use std::fmt;

use serde_json::{Map, Value};

use crate::recognition::OfTensors;

/// Fields of a configuration, as JSON has them.
pub type Fields = Map<String, Value>;

/// Something in `config.json` that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// The class.
    pub class: &'static str,
    /// The field that the class does not have.
    pub field: String,
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} has no such field; ignored", self.field, self.class)
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
    #[error("expected an object with the fields of {}, found {found}", any_of(known))]
    NotAnObject {
        /// Classes that would do.
        known: Vec<&'static str>,
        /// What there is.
        found: String,
    },
    /// The configuration of another model.
    #[error(
        "_class_name: expected {}, found {found}; this is the configuration of another model",
        any_of(&known.iter().map(|class| format!("\"{class}\"")).collect::<Vec<_>>())
    )]
    Class {
        /// Classes that would do.
        known: Vec<&'static str>,
        /// What there is.
        found: String,
    },
    /// Fields that cannot be honoured, all of them.
    #[error("{}", lines(.0))]
    Fields(Vec<ConfigProblem>),
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// `a`, `a or b`, `a, b or c`.
fn any_of(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A field that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigProblem {
    /// The field's name in `config.json`.
    pub field: String,
    /// What was expected and what was found.
    pub message: String,
}

/// A problem, with every field that it was found from; the first is the one at fault.
#[derive(Clone, Debug)]
pub struct Violation {
    pub(crate) fields: Vec<&'static str>,
    pub(crate) problem: ConfigProblem,
}

impl Violation {
    /// A problem found from these fields; the first is the one at fault.
    pub(crate) fn new(fields: &[&'static str], message: String) -> Self {
        Self { fields: fields.to_vec(), problem: ConfigProblem { field: fields[0].to_owned(), message } }
    }
}

/// The name by which `config.json` says whose configuration it is.
pub(crate) const CLASS_FIELD: &str = "_class_name";

/// A class whose configurations are read. Its default has the values that diffusers gives to absent
/// fields.
pub trait Configuration: Default {
    /// As `config.json` names it.
    const CLASS: &'static str;

    /// What finds a configuration of this class in the tensors of a file.
    const OF_TENSORS: OfTensors<Self>;

    /// Reads every field that the class has.
    fn read_fields(&mut self, reader: &mut Reader<'_>);

    /// The fields of this class that a configuration of the model's authors tells, as files carry it
    /// that have their names; `None` where it is none of those.
    fn of_authors(config: &Fields) -> Option<Fields> {
        let _ = config;
        None
    }

    /// This configuration with the fields that are there; `None` where one is of a wrong type.
    fn with_fields(mut self, fields: &Fields) -> Option<Self> {
        let mut reader = Reader { object: fields, values: Vec::new(), problems: Vec::new() };
        self.read_fields(&mut reader);
        reader.problems.is_empty().then_some(self)
    }

    /// All values that cannot be honoured.
    fn violations(&self) -> Vec<Violation>;

    /// Reads the text of `config.json`, with or without a byte order mark. Fields that are absent
    /// have their defaults; fields that start with `_` are diffusers' own notes and are passed
    /// over; any other field that is not known gives a warning.
    ///
    /// # Errors
    /// When the text is not a JSON object, is the configuration of another class, or has fields of
    /// a wrong type or with values that cannot be honoured: all of them are reported.
    fn from_json(text: &str) -> Result<(Self, Vec<ConfigWarning>), ConfigError> {
        let object = object(text, &[Self::CLASS])?;
        if let Some(class) = object.get(CLASS_FIELD).filter(|class| *class != Self::CLASS) {
            return Err(ConfigError::Class { known: vec![Self::CLASS], found: shown(class) });
        }
        Self::from_object(&object)
    }

    /// [`Self::from_json`] of fields that were read already and are this class's.
    ///
    /// # Errors
    /// When fields have a wrong type, or values that cannot be honoured.
    fn from_object(object: &Map<String, Value>) -> Result<(Self, Vec<ConfigWarning>), ConfigError> {
        let mut config = Self::default();
        let mut reader = Reader { object, values: Vec::new(), problems: Vec::new() };
        config.read_fields(&mut reader);

        let Reader { values, mut problems, .. } = reader;
        // A field that could not be read still has its default, which nothing should be held
        // against.
        let unread: Vec<String> = problems.iter().map(|problem| problem.field.clone()).collect();
        let judged = |fields: &[&str]| !fields.iter().any(|field| unread.iter().any(|name| name == field));
        problems.extend(config.violations().into_iter().filter(|v| judged(&v.fields)).map(|v| v.problem));
        if !problems.is_empty() {
            return Err(ConfigError::Fields(problems));
        }
        let unknown = |name: &&String| !name.starts_with('_') && !values.iter().any(|(known, _)| known == name);
        let warnings = object.keys().filter(unknown);
        Ok((config, warnings.map(|field| ConfigWarning { class: Self::CLASS, field: field.clone() }).collect()))
    }
}

/// What a configuration says of itself, whatever its class: every [`Configuration`] does.
pub trait Configured {
    /// The class that `config.json` names.
    fn class_name(&self) -> &'static str;

    /// Every field of the configuration with its value as JSON, in the order of the class;
    /// [`field_text`] has it as people read it.
    fn fields(&self) -> Vec<(&'static str, Value)>;

    /// All that makes this configuration one that cannot be declared; empty when it can.
    fn problems(&self) -> Vec<ConfigProblem>;
}

impl<C: Configuration + Clone> Configured for C {
    fn class_name(&self) -> &'static str {
        C::CLASS
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let mut reader = Reader { object: &Map::new(), values: Vec::new(), problems: Vec::new() };
        self.clone().read_fields(&mut reader);
        reader.values
    }

    fn problems(&self) -> Vec<ConfigProblem> {
        self.violations().into_iter().map(|violation| violation.problem).collect()
    }
}

/// The fields in the text of a `config.json` that may be of one of these classes.
pub(crate) fn object(text: &str, known: &[&'static str]) -> Result<Map<String, Value>, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_json::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))? {
        Value::Object(object) => Ok(object),
        other => Err(ConfigError::NotAnObject { known: known.to_vec(), found: shown(&other) }),
    }
}

/// The fields of an object, what became of those that were asked for, and what was wrong with them.
pub struct Reader<'a> {
    object: &'a Map<String, Value>,
    values: Vec<(&'static str, Value)>,
    problems: Vec<ConfigProblem>,
}

impl Reader<'_> {
    /// Overwrites `target` by the field, if it is there.
    pub(crate) fn read<T: Field>(&mut self, name: &'static str, target: &mut T) {
        match self.object.get(name).map(|json| T::from_json(json).ok_or(json)) {
            Some(Ok(value)) => *target = value,
            Some(Err(json)) => {
                let message = format!("expected {}, found {}", T::expected(), shown(json));
                self.problems.push(ConfigProblem { field: name.to_owned(), message });
            }
            None => {}
        }
        self.values.push((name, target.to_json()));
    }
}

/// A value as it stood in the text, cut when it is long.
pub(crate) fn shown(json: &Value) -> String {
    const MOST: usize = 80;
    let text = json.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A field's value as people read it: text without its quotes, `none` where there is nothing.
pub fn field_text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(field_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A Rust type that a field can have. A model's own types are its own affair.
pub(crate) trait Field: Sized {
    /// What should have been written, for error messages.
    fn expected() -> String;

    /// The value; `None` when the JSON is of another type.
    fn from_json(json: &Value) -> Option<Self>;

    /// The value as it is written.
    fn to_json(&self) -> Value;
}

/// An element of a list, and how a list of them is called.
pub(crate) trait Element: Field {
    const PLURAL: &'static str;
}

impl Field for usize {
    fn expected() -> String {
        "a positive whole number".to_owned()
    }

    /// Zero is a matter of what is allowed, as an upper bound is; see
    /// [`Configuration::violations`].
    fn from_json(json: &Value) -> Option<Self> {
        json.as_u64().and_then(|n| n.try_into().ok())
    }

    fn to_json(&self) -> Value {
        (*self).into()
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

    fn to_json(&self) -> Value {
        (*self).into()
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

    fn to_json(&self) -> Value {
        (*self).into()
    }
}

impl Element for bool {
    const PLURAL: &'static str = "true or false";
}

impl Field for String {
    fn expected() -> String {
        "text".to_owned()
    }

    fn from_json(json: &Value) -> Option<Self> {
        json.as_str().map(str::to_owned)
    }

    fn to_json(&self) -> Value {
        self.clone().into()
    }
}

impl Element for String {
    const PLURAL: &'static str = "texts";
}

impl<T: Element> Field for Vec<T> {
    fn expected() -> String {
        format!("a list of {}", T::PLURAL)
    }

    fn from_json(json: &Value) -> Option<Self> {
        json.as_array()?.iter().map(T::from_json).collect()
    }

    fn to_json(&self) -> Value {
        self.iter().map(T::to_json).collect()
    }
}

impl<T: Field> Field for Option<T> {
    fn expected() -> String {
        format!("{} or null", T::expected())
    }

    fn from_json(json: &Value) -> Option<Self> {
        if json.is_null() { Some(None) } else { T::from_json(json).map(Some) }
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }
}
