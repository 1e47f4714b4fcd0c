//! Files of f32 arrays, written front to back: the headers of safetensors and of NumPy's `.npy`,
//! and values as bytes.
//!
//! Where which value goes is the writers' to know. Reading is [`crate::tensor_file`].

use std::collections::HashMap;
use std::io::{self, Write};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::npy_header::MAGIC;

/// What the values of a safetensors file are aligned to, by its specification.
const SAFETENSORS_ALIGNMENT: usize = 8;
/// What the values of an `.npy` file are aligned to, by its specification.
const NPY_ALIGNMENT: usize = 64;
/// Version 1.0 of the format.
const NPY_VERSION: [u8; 2] = [1, 0];
/// Values that are turned into bytes at a time.
const CHUNK: usize = 1 << 14;

/// All that stands in front of the values of a safetensors file of f32 tensors with these names and
/// shapes, one behind the other.
///
/// # Errors
/// What is wrong, in the library's words.
pub fn safetensors_header(
    metadata: Option<HashMap<String, String>>,
    tensors: impl IntoIterator<Item = (String, Vec<usize>)>,
) -> Result<Vec<u8>, String> {
    let mut end = 0;
    let tensors = tensors.into_iter().map(|(name, shape)| {
        let start = end;
        end += shape.iter().product::<usize>() * size_of::<f32>();
        (name, TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
    });
    let header = Metadata::new(metadata, tensors.collect()).map_err(|cause| cause.to_string())?;
    let mut json = serde_json::to_vec(&header).map_err(|cause| cause.to_string())?;
    json.resize(json.len().next_multiple_of(SAFETENSORS_ALIGNMENT), b' ');
    Ok([&(json.len() as u64).to_le_bytes(), json.as_slice()].concat())
}

/// All that stands in front of the values of an `.npy` of f32, row-major: version 1.0 of the
/// format, described in `numpy.lib.format`.
pub fn npy_header(shape: &[usize]) -> Vec<u8> {
    let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    // A tuple of one needs its comma.
    let comma = if axes.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", axes.join(", "));
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let before = MAGIC.len() + NPY_VERSION.len() + size_of::<u16>();
    let length = (before + text.len() + 1).next_multiple_of(NPY_ALIGNMENT) - before;
    text.extend(std::iter::repeat_n(' ', length - 1 - text.len()));
    text.push('\n');
    [MAGIC, &NPY_VERSION, &(length as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// Writes values as these files have them, little-endian.
///
/// # Errors
/// Those of `to`.
pub fn write_values(to: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK.min(values.len()) * size_of::<f32>());
    for values in values.chunks(CHUNK) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        to.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy_header::NpyHeader;
    use crate::tensor_file::TensorFile;

    #[test]
    fn what_is_written_is_read_back() {
        let values: Vec<f32> = (0..CHUNK + 6).map(|i| i as f32 - 0.5).collect();
        let metadata = Some(HashMap::from([("key".to_owned(), "value".to_owned())]));
        let shapes = [("a".to_owned(), vec![2, 3]), ("b".to_owned(), vec![CHUNK])];
        let mut bytes = safetensors_header(metadata, shapes).unwrap();
        assert_eq!(bytes.len() % SAFETENSORS_ALIGNMENT, 0);
        write_values(&mut bytes, &values).unwrap();
        let file = TensorFile::from_static("x".as_ref(), bytes.leak()).unwrap();
        assert_eq!((file.names(), file.label("key")), (vec!["a".into(), "b".into()], Some("value")));
        assert_eq!((file.shape("a"), file.to_f32("a").unwrap()), (Some(&[2, 3][..]), values[..6].to_vec()));
        assert_eq!(file.to_f32("b").unwrap(), values[6..]);
    }

    #[test]
    fn an_npy_header_says_type_and_shape() {
        for shape in [vec![], vec![7], vec![1, 3, 2, 4, 6]] {
            let header = npy_header(&shape);
            assert_eq!(header.len() % NPY_ALIGNMENT, 0);
            let read = NpyHeader::parse(&header).unwrap();
            assert_eq!((read.descr.as_str(), read.fortran, read.start), ("<f4", false, header.len()));
            assert_eq!(read.shape, shape);
        }
        assert!(String::from_utf8_lossy(&npy_header(&[7])).contains("'shape': (7,), }"));
    }
}
