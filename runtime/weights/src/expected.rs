//! What a caller says of its model, so that the model's tensors are found in a file: names and
//! shapes by halves, and further namings in which such files come.

use std::fmt;

use ir::Dims;

/// A half of a model, whose tensors lie under one prefix in one naming; a file need not have both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpectedHalf {
    /// What a person calls it: `encoder`, `decoder`.
    pub name: String,
    /// The model's own names of its tensors, and their shapes.
    pub tensors: Vec<(String, Dims)>,
}

impl ExpectedHalf {
    /// The half of this name with these tensors.
    pub fn new(name: impl Into<String>, tensors: Vec<(String, Dims)>) -> ExpectedHalf {
        ExpectedHalf { name: name.into(), tensors }
    }
}

/// A naming that is not the model's own: how the tensors of a checkpoint from elsewhere are called,
/// such as the one that the model's authors published.
///
/// ```
/// use weights::Dialect;
///
/// let original = Dialect::new("original", |name| {
///     let rest = name.strip_prefix("decoder.head.")?;
///     Some(format!("decoder.conv_out.{rest}"))
/// });
/// assert_eq!(original.own_name("decoder.head.bias").as_deref(), Some("decoder.conv_out.bias"));
/// assert_eq!(original.own_name("decoder.tail.bias"), None);
/// ```
pub struct Dialect {
    name: String,
    own_name: Box<OwnName>,
}

/// The model's own name for a name of the dialect.
type OwnName = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Dialect {
    /// A dialect that people know by `name`, for the end of a sentence such as "in LDM naming".
    ///
    /// `own_name` is given a tensor's name as a file has it, behind its prefix and with dots
    /// between the components, and gives the model's own; `None` for what is no name of this
    /// dialect. Names that the dialect shares with the model it gives as they are. It is asked
    /// for ends of names too, so it should take whole names only. Shapes may differ from the
    /// model's in axes of length 1, and in nothing else.
    pub fn new(name: impl Into<String>, own_name: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Dialect {
        Dialect { name: name.into(), own_name: Box::new(own_name) }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's own name for a name of this dialect.
    pub fn own_name(&self, name: &str) -> Option<String> {
        (self.own_name)(name)
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialect").field(&self.name).finish()
    }
}
