//! Named values: how a plugin tells its attributes and takes its options.

use std::collections::BTreeMap;
use std::fmt;

use super::bindings::*;
use super::table::{list, text};

/// A value that has a name.
#[derive(Debug, Clone, PartialEq)]
pub enum NamedValue {
    /// Text.
    Text(String),
    /// An integer.
    Integer(i64),
    /// Several integers.
    Integers(Vec<i64>),
    /// A number.
    Float(f32),
    /// Yes or no.
    Bool(bool),
}

/// Values by their names.
pub type Attributes = BTreeMap<String, NamedValue>;

impl NamedValue {
    /// The value as a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match *self {
            NamedValue::Integer(value) => Some(value as f64),
            NamedValue::Float(value) => Some(f64::from(value)),
            _ => None,
        }
    }
}

impl fmt::Display for NamedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamedValue::Text(value) => f.write_str(value),
            NamedValue::Integer(value) => write!(f, "{value}"),
            NamedValue::Integers(values) => {
                let values: Vec<_> = values.iter().map(i64::to_string).collect();
                f.write_str(&values.join("."))
            }
            NamedValue::Float(value) => write!(f, "{value}"),
            NamedValue::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// The plugin's list, copied. A value of a kind that we do not know is left out.
///
/// # Safety
/// A list of so many values as the plugin returned it.
pub(super) unsafe fn read(start: *const PJRT_NamedValue, count: usize) -> Attributes {
    // SAFETY: the caller's promise; a value's kind says which member of the union it is, and its
    // size how long.
    unsafe {
        let value = |value: &PJRT_NamedValue| {
            let (of, size) = (&value.__bindgen_anon_1, value.value_size);
            Some(match value.type_ {
                PJRT_NamedValue_kString => NamedValue::Text(text(of.string_value, size)),
                PJRT_NamedValue_kInt64 => NamedValue::Integer(of.int64_value),
                PJRT_NamedValue_kInt64List => NamedValue::Integers(list(of.int64_array_value, size).to_vec()),
                PJRT_NamedValue_kFloat => NamedValue::Float(of.float_value),
                PJRT_NamedValue_kBool => NamedValue::Bool(of.bool_value),
                _ => return None,
            })
        };
        list(start, count).iter().filter_map(|v| Some((text(v.name, v.name_size), value(v)?))).collect()
    }
}

/// Options in the plugin's form, which points into `options`.
pub(super) fn write(options: &Attributes) -> Vec<PJRT_NamedValue> {
    let one = |(name, value): (&String, &NamedValue)| {
        let mut named = PJRT_NamedValue {
            struct_size: PJRT_NamedValue_STRUCT_SIZE as usize,
            name: name.as_ptr().cast(),
            name_size: name.len(),
            value_size: 1,
            ..Default::default()
        };
        let of = &mut named.__bindgen_anon_1;
        named.type_ = match value {
            NamedValue::Text(value) => {
                of.string_value = value.as_ptr().cast();
                named.value_size = value.len();
                PJRT_NamedValue_kString
            }
            NamedValue::Integer(value) => {
                of.int64_value = *value;
                PJRT_NamedValue_kInt64
            }
            NamedValue::Integers(values) => {
                of.int64_array_value = values.as_ptr();
                named.value_size = values.len();
                PJRT_NamedValue_kInt64List
            }
            NamedValue::Float(value) => {
                of.float_value = *value;
                PJRT_NamedValue_kFloat
            }
            NamedValue::Bool(value) => {
                of.bool_value = *value;
                PJRT_NamedValue_kBool
            }
        };
        named
    };
    options.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let values = [
            NamedValue::Text("zwölf".into()),
            NamedValue::Integer(-3),
            NamedValue::Integers(vec![1, 2, 3]),
            NamedValue::Integers(vec![]),
            NamedValue::Float(0.5),
            NamedValue::Bool(true),
        ];
        let options: Attributes = values.into_iter().enumerate().map(|(i, v)| (format!("name{i}"), v)).collect();
        let written = write(&options);
        // SAFETY: what was written points into `options`, which is still there.
        assert_eq!(unsafe { read(written.as_ptr(), written.len()) }, options);
        assert_eq!(options["name2"].to_string(), "1.2.3");
    }
}
