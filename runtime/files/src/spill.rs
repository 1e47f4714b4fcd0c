//! Tensors put aside on disk, in a file without a name: gone with the process, however that ends.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Elements written or read at a time.
const CHUNK: usize = 1 << 14;

/// Where large temporary files belong: `/tmp` is memory on many systems, `/var/tmp` is not.
const LARGE_FILES: &str = "/var/tmp";

/// Where what must wait on disk does: the folder that TMPDIR names, else `/var/tmp` if there is
/// one, else where the system has temporary files.
pub fn folder() -> PathBuf {
    let large_files = Path::new(LARGE_FILES);
    match ir::knobs::TMPDIR.get() {
        None if large_files.is_dir() => large_files.into(),
        _ => ir::knobs::temporary_folder(),
    }
}

/// A temporary file of tensors.
pub struct Spill {
    file: File,
    folder: PathBuf,
    /// First byte and number of elements of each tensor.
    tensors: Vec<(u64, usize)>,
    end: u64,
}

impl Spill {
    /// An empty file in [`folder`].
    ///
    /// # Errors
    /// [`Error::Spill`].
    pub fn new() -> Result<Self> {
        let folder = folder();
        match tempfile::tempfile_in(&folder) {
            Ok(file) => Ok(Self { file, folder, tensors: vec![], end: 0 }),
            Err(cause) => Err(Error::Spill { folder, cause }),
        }
    }

    /// How many tensors are there.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Appends a tensor; the first has number 0.
    ///
    /// # Errors
    /// [`Error::Spill`], such as on a full disk.
    pub fn push(&mut self, tensor: &[f32]) -> Result<()> {
        self.write(tensor).map_err(|cause| Error::Spill { folder: self.folder.clone(), cause })?;
        self.tensors.push((self.end, tensor.len()));
        self.end += size_of_val(tensor) as u64;
        Ok(())
    }

    fn write(&mut self, tensor: &[f32]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        let mut bytes = Vec::with_capacity(CHUNK * size_of::<f32>());
        for chunk in tensor.chunks(CHUNK) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|value| value.to_ne_bytes()));
            self.file.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Reads the tensor of this number to `to`, in place of what is there.
    ///
    /// # Errors
    /// [`Error::Spill`]; it is the memory that is missing if `to` cannot grow.
    pub fn read(&mut self, number: usize, to: &mut Vec<f32>) -> Result<()> {
        self.read_from(number, to).map_err(|cause| Error::Spill { folder: self.folder.clone(), cause })
    }

    fn read_from(&mut self, number: usize, to: &mut Vec<f32>) -> io::Result<()> {
        let (start, elements) = self.tensors[number];
        to.clear();
        to.try_reserve_exact(elements).map_err(|cause| io::Error::new(ErrorKind::OutOfMemory, cause))?;
        self.file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; CHUNK.min(elements) * size_of::<f32>()];
        while to.len() < elements {
            let chunk = (elements - to.len()).min(CHUNK);
            let bytes = &mut bytes[..chunk * size_of::<f32>()];
            self.file.read_exact(bytes)?;
            to.extend(bytes.as_chunks().0.iter().map(|value| f32::from_ne_bytes(*value)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_in_any_order() {
        let tensors: Vec<Vec<f32>> =
            [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 5].iter().map(|&n| (0..n).map(|i| i as f32 - 0.5).collect()).collect();
        let mut spill = Spill::new().unwrap();
        assert!(spill.is_empty());
        let mut found = vec![];
        for tensor in &tensors {
            spill.push(tensor).unwrap();
            spill.read(0, &mut found).unwrap();
        }
        assert_eq!(spill.len(), tensors.len());
        for (number, tensor) in tensors.iter().enumerate().rev() {
            spill.read(number, &mut found).unwrap();
            assert!(found == *tensor, "{number}");
        }
    }
}
