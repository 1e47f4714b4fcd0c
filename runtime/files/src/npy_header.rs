//! The header of NumPy's `.npy`: element type, order of axes, shape, and where the values begin.

/// Length of a header, at most; NumPy itself refuses more than 10000 by default.
pub const MAX_HEADER: usize = 1 << 16;
/// How an `.npy` begins.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// What stands in front of an array's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpyHeader {
    /// The element type as NumPy writes it, such as `<f4`.
    pub descr: String,
    /// Whether the first axis is the fastest.
    pub fortran: bool,
    /// Axes, slowest first.
    pub shape: Vec<usize>,
    /// Where the values begin, counted from the first byte of the file.
    pub start: usize,
}

impl NpyHeader {
    /// Reads the header that `bytes` begin with.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence about "it".
    pub fn parse(bytes: &[u8]) -> Result<NpyHeader, String> {
        let cut = || "it is cut off in its header".to_owned();
        if !bytes.starts_with(MAGIC) {
            return Err("it does not begin as an .npy file does".into());
        }
        // The version is behind the magic, then the length of the rest, in two bytes or, since
        // version 2, in four.
        let (length, at) = match bytes.get(6).ok_or_else(cut)? {
            1 => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
            _ => (bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize), 12),
        };
        let length = length.ok_or_else(cut)?;
        if length > MAX_HEADER {
            return Err(format!("its header says to be {length} bytes long; it is damaged"));
        }
        let header = String::from_utf8_lossy(bytes.get(at..at + length).ok_or_else(cut)?);
        let (descr, fortran, shape) =
            dictionary(&header).ok_or_else(|| format!("its header is not understood: {}", header.trim_end()))?;
        Ok(NpyHeader { descr, fortran, shape, start: at + length })
    }
}

/// Element type, Fortran order and shape of a header, a Python dictionary such as
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn dictionary(header: &str) -> Option<(String, bool, Vec<usize>)> {
    let value = |key: &str| Some(header.split_once(&format!("'{key}':"))?.1.trim_start());
    let descr = value("descr")?.strip_prefix('\'')?.split_once('\'')?.0;
    let order = value("fortran_order")?;
    let fortran = order.starts_with("True");
    if !fortran && !order.starts_with("False") {
        return None;
    }
    let shape = value("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    // Python 2 wrote its long numbers with an L behind.
    let axes = axes.map(|axis| axis.strip_suffix('L').unwrap_or(axis).parse().ok());
    Some((descr.into(), fortran, axes.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_python_dictionaries() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 2, 3, 5), }  \n";
        assert_eq!(dictionary(header), Some(("<f4".into(), false, vec![1, 3, 2, 3, 5])));
        assert_eq!(
            dictionary("{'shape':(7L,),'fortran_order':True,'descr':'|u1'}"),
            Some(("|u1".into(), true, vec![7]))
        );
        for bad in ["", "{'descr': '<f4'}", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}"] {
            assert_eq!(dictionary(bad), None);
        }
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,), }";
        assert_eq!(dictionary(huge), None);
    }

    #[test]
    fn both_versions_are_read_and_damage_is_told() {
        let text = "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }\n";
        let first = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
        let second = [MAGIC, &[2, 0], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        for bytes in [&first, &second] {
            let header = NpyHeader::parse(bytes).unwrap();
            assert_eq!((header.descr.as_str(), header.shape, header.start), ("<f2", vec![2], bytes.len()));
            for end in 0..bytes.len() {
                assert!(NpyHeader::parse(&bytes[..end]).is_err());
            }
        }
        assert!(NpyHeader::parse(b"\x93NUMPY\x02\0\xff\xff\xff\xff").unwrap_err().contains("4294967295 bytes long"));
        assert!(NpyHeader::parse(b"\x93NUMPY\x01\0\x04\0nope").unwrap_err().contains("not understood: nope"));
    }
}
