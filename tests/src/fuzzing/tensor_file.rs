//! Files of tensors, safetensors, PyTorch's and NumPy's, and the index of their shards: refused, or
//! as long as they say.

use tessera::checkpoint::Checkpoint;
use tessera::shard_index::ShardIndex;
use tessera::tensor_file::TensorFile;

use super::with_file;

/// Opens `bytes` as an index of shards, if they begin as JSON does, else as a file of tensors.
///
/// # Panics
/// When a tensor is not as its header says, or a shard lies in another folder than the index.
pub fn run(bytes: &[u8]) {
    if bytes.first() == Some(&b'{') {
        with_file("json", bytes, |path| {
            let Ok(index) = ShardIndex::read(path) else { return };
            assert!(index.tensors().count() >= index.shard_names().len());
            for name in index.shard_names() {
                assert_eq!(index.shard_path(name).parent(), path.parent());
                assert_eq!(index.shard_path(name).file_name().and_then(|name| name.to_str()), Some(name));
            }
        });
        return;
    }
    with_file("safetensors", bytes, |path| {
        let Ok(file) = TensorFile::open(path, "") else { return };
        assert!(!file.contents().is_empty());
        let mut total = 0;
        for name in file.names() {
            let view = file.tensor(&name).expect("a tensor that has a name");
            let elements: usize = view.shape.iter().product();
            assert_eq!(view.bytes.len() * 8, elements * view.dtype.bitsize());
            total += view.bytes.len();
            match file.to_f32(&name) {
                Ok(values) => assert!(view.is_float() && values.len() == elements),
                Err(_) => assert!(!view.is_float()),
            }
        }
        // PyTorch's tensors share storages, and archives may be packed.
        let is_safetensors = !bytes.starts_with(b"PK") && !bytes.starts_with(b"\x93NUMPY");
        assert!(!is_safetensors || total <= bytes.len(), "tensors overlap");
        let checkpoint = Checkpoint::from_file(file);
        assert!(checkpoint.iter().count() == checkpoint.len() && !checkpoint.contents().is_empty());
    });
}
