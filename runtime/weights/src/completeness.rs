//! Whether a checkpoint has what a half of a model needs, and what it has that no half does.

use std::collections::HashSet;

use files::tensor_file::TensorView;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::expected::ExpectedHalf;
use crate::scales;

/// Names that a message lists before it only counts.
const SHOWN: usize = 3;

impl Checkpoint {
    /// Checks that every tensor of `half` is here, in its shape, as numbers.
    ///
    /// # Errors
    /// [`Error::NotTheModel`] with all that is wrong: the first few names of each kind, and how
    /// many there are.
    pub fn check(&self, half: &ExpectedHalf) -> Result<()> {
        let (mut missing, mut shapes, mut types) = (vec![], vec![], vec![]);
        for (name, shape) in &half.tensors {
            match self.tensor(name) {
                None => missing.push(format!("`{name}`")),
                Some(view) if view.shape != shape.as_slice() => {
                    shapes.push(format!("`{name}` is {:?}, expected {shape:?}", view.shape));
                }
                Some(view) if !view.is_float() => {
                    types.push(format!("`{name}` is {}, expected {}", view.dtype, TensorView::FLOATS));
                }
                Some(_) => {}
            }
        }
        let count = half.tensors.len();
        let mut problems = vec![];
        if missing.len() == count && count > 0 {
            problems.push(format!("none of its {count} tensors is there; the file has {}", self.contents()));
        } else if !missing.is_empty() {
            problems.push(format!("{} of {count} tensors missing: {}", missing.len(), first_few(&missing)));
        }
        if !shapes.is_empty() {
            problems.push(format!("{} of {count} tensors of another shape: {}", shapes.len(), first_few(&shapes)));
        }
        if !types.is_empty() {
            problems.push(format!("{} of {count} tensors not of floats: {}", types.len(), first_few(&types)));
        }
        if problems.is_empty() {
            return Ok(());
        }
        let (path, half) = (self.path().into(), half.name.clone());
        Err(Error::NotTheModel { path, half, problem: problems.join("; ") })
    }

    /// A warning about tensors that none of `halves` has, if there are any but those of whose names
    /// it `is_known` that nothing reads them, and of what stands beside weights of eight bits.
    pub fn unexpected(&self, halves: &[ExpectedHalf], is_known: impl Fn(&str) -> bool) -> Option<String> {
        let expected = halves.iter().flat_map(|half| &half.tensors);
        let expected: HashSet<&str> = expected.map(|(name, _)| name.as_str()).collect();
        let has_eight_bits = self.has_eight_bits();
        let is_beside = |name: &str| has_eight_bits && scales::is_beside(name);
        let names = self.signatures().map(|tensor| tensor.name);
        let others = names.filter(|name| !expected.contains(name) && !is_known(name) && !is_beside(name));
        let others: Vec<_> = others.map(|name| format!("`{name}`")).collect();
        (!others.is_empty()).then(|| {
            format!(
                "{}: {} tensors that config.json does not describe, ignored: {}",
                self.path().display(),
                others.len(),
                first_few(&others)
            )
        })
    }
}

/// `a, b, c and 7 others`.
fn first_few(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        others => format!("{shown} and {others} other{}", if others == 1 { "" } else { "s" }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use files::tensor_file::{Dtype, TensorFile};
    use ir::Dims;
    use safetensors::tensor::TensorView as Tensor;

    use super::*;

    /// A checkpoint of these tensors, all zeros.
    fn checkpoint(tensors: &[(&str, Dtype, &[usize])]) -> Checkpoint {
        let zeros = [0; 256];
        let tensors = tensors.iter().map(|(name, dtype, shape)| {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (*name, Tensor::new(*dtype, shape.to_vec(), &zeros[..bytes]).unwrap())
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), safetensors::serialize(tensors, None).unwrap()).unwrap();
        Checkpoint::from_file(TensorFile::open(file.path(), "").unwrap())
    }

    fn half(tensors: &[(&str, &[usize])]) -> ExpectedHalf {
        let tensors = tensors.iter().map(|(name, shape)| ((*name).to_owned(), Dims::from_slice(shape)));
        ExpectedHalf::new("decoder", tensors.collect())
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let found = checkpoint(&[
            ("a", Dtype::F16, &[2, 3]),
            ("b", Dtype::F32, &[2]),
            ("c", Dtype::I32, &[2]),
            ("e", Dtype::F64, &[2]),
        ]);
        found.check(&half(&[("a", &[2, 3]), ("e", &[2])])).unwrap();
        found.check(&half(&[])).unwrap();
        let complaint = |tensors: &[(&str, &[usize])]| found.check(&half(tensors)).unwrap_err().to_string();
        let message = complaint(&[("a", &[2, 3]), ("b", &[3]), ("c", &[2]), ("d", &[1])]);
        assert!(
            message.contains("not the decoder that config.json describes: 1 of 4 tensors missing: `d`; "),
            "{message}"
        );
        assert!(message.contains("; 1 of 4 tensors of another shape: `b` is [2], expected [3]; "), "{message}");
        assert!(message.contains("; 1 of 4 tensors not of floats: `c` is I32, expected F32, "), "{message}");
        let message = complaint(&[("x", &[1]), ("y", &[1])]);
        assert!(message.contains("none of its 2 tensors is there; the file has `a` F16 [2, 3], `b`"), "{message}");
        let message = complaint(&[("a", &[2, 3]), ("p", &[1]), ("q", &[1]), ("r", &[1]), ("s", &[1])]);
        assert!(message.ends_with("4 of 5 tensors missing: `p`, `q`, `r` and 1 other"), "{message}");
    }

    #[test]
    fn what_no_half_has_is_counted() {
        let found = checkpoint(&[("a", Dtype::F32, &[1]), ("b", Dtype::F32, &[1]), ("c", Dtype::I64, &[1])]);
        let warning = found.unexpected(&[half(&[("a", &[1])]), half(&[("z", &[1])])], |_| false).unwrap();
        assert!(warning.ends_with(": 2 tensors that config.json does not describe, ignored: `b`, `c`"), "{warning}");
        assert_eq!(found.unexpected(&[half(&[("a", &[1]), ("b", &[1])]), half(&[("c", &[1])])], |_| false), None);
        assert_eq!(found.unexpected(&[half(&[("a", &[1])])], |name| name != "a"), None);
    }
}
