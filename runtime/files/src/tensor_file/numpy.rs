//! NumPy's arrays as tensors: an `.npy` holds one, called `array`, an `.npz` is a zip archive of
//! several.

use std::borrow::Cow;
use std::sync::OnceLock;

use safetensors::Dtype;

use super::archive::Member;
use super::entry::{Entry, Location};
use crate::npy_header::NpyHeader;

/// What the one array of an `.npy` is called.
const ONLY: &str = "array";
/// How the names of an archive's arrays end.
const ENDING: &str = ".npy";

/// Whether an archive of these files is NumPy's.
pub(super) fn is_npz(members: &[Member]) -> bool {
    !members.is_empty() && members.iter().all(|member| member.name.ends_with(ENDING))
}

/// The array of an `.npy`.
///
/// # Errors
/// What is wrong with it and what to do, as a sentence about "it".
pub(super) fn entry(bytes: &[u8]) -> Result<Entry, String> {
    Ok(array(bytes, ONLY.into())?(Location::Content(0..bytes.len())))
}

/// The arrays of an `.npz`; `bytes` are the whole file's.
///
/// # Errors
/// As [`entry`].
pub(super) fn entries(bytes: &[u8], members: &[Member]) -> Result<Vec<Entry>, String> {
    let entry = |member: &Member| {
        let name = member.name.trim_end_matches(ENDING).to_owned();
        let content = member.content(bytes)?;
        let (header, problem) = (array(&content, name), |problem| format!("`{}`: {problem}", member.name));
        let array = header.map_err(problem)?;
        Ok(match content {
            Cow::Borrowed(_) => array(Location::Content(member.range.clone())),
            Cow::Owned(unpacked) => array(Location::Unpacked(unpacked)),
        })
    };
    members.iter().map(entry).collect()
}

/// The array in `bytes`, header and values, of which is told afterwards where they are.
fn array(bytes: &[u8], name: String) -> Result<impl FnOnce(Location) -> Entry + use<>, String> {
    let NpyHeader { descr, fortran, shape, start } = NpyHeader::parse(bytes)?;
    let dtype = element(&descr)?;
    let size = dtype.bitsize() / 8;
    let values = shape.iter().try_fold(size, |size, axis| size.checked_mul(*axis));
    if values.and_then(|values| values.checked_add(start)) != Some(bytes.len()) {
        let length = bytes.len();
        return Err(format!("{descr} {shape:?} is not what is in its {length} bytes; it is cut off or damaged"));
    }
    let strides = (fortran && shape.len() > 1).then(|| {
        let before = |axis| shape[..axis].iter().product();
        (0..shape.len()).map(before).collect()
    });
    let big_endian = descr.starts_with('>');
    Ok(move |location: Location| Entry {
        name,
        dtype,
        shape,
        location: location.from(start),
        strides,
        big_endian,
        arranged: OnceLock::new(),
    })
}

/// The element type of NumPy's name for it.
fn element(descr: &str) -> Result<Dtype, String> {
    Ok(match descr.get(1..).unwrap_or_default() {
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "u1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "b1" => Dtype::BOOL,
        "c8" => Dtype::C64,
        "V2" => {
            return Err(format!(
                "its elements are {descr}, two bytes without a type, which is how NumPy saves bfloat16; save it as \
                 float32, array.astype('float32')"
            ));
        }
        "O" => return Err("it holds Python objects, which are not executed; save an array of float32".into()),
        _ => return Err(format!("its elements are {descr}; expected <f4, <f2 or <f8")),
    })
}
