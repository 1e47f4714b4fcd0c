//! Files of every kind that is read, and of kinds that are not.

use super::*;

/// The bytes of a safetensors file with this JSON header and this data.
fn bytes(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn open(bytes: &[u8]) -> Result<TensorFile> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    TensorFile::open(file.path(), "expected here")
}

fn complaint(bytes: &[u8]) -> String {
    open(bytes).unwrap_err().to_string()
}

#[test]
fn every_float_type_is_read_also_unaligned() {
    let values = [0.5f32, -2.0, 65504.0];
    // `a` has one byte, so that what follows is unaligned.
    let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "b":{"dtype":"F16","shape":[3],"data_offsets":[1,7]},"c":{"dtype":"BF16","shape":[3],"data_offsets":[7,13]},
        "d":{"dtype":"F32","shape":[3],"data_offsets":[13,25]},"e":{"dtype":"F64","shape":[3],"data_offsets":[25,49]}}"#;
    let mut data = vec![7u8];
    values.iter().for_each(|&v| data.extend(f16::from_f32(v).to_le_bytes()));
    values.iter().for_each(|&v| data.extend(bf16::from_f32(v).to_le_bytes()));
    values.iter().for_each(|&v| data.extend(v.to_le_bytes()));
    values.iter().for_each(|&v| data.extend(f64::from(v).to_le_bytes()));
    let file = open(&bytes(header, &data)).unwrap();
    assert_eq!(file.names(), ["a", "b", "c", "d", "e"]);
    for name in ["b", "d", "e"] {
        assert_eq!(file.to_f32(name).unwrap(), values, "{name}");
    }
    assert_eq!(file.to_f32("c").unwrap(), [0.5, -2.0, 65536.0]);
    let message = file.to_f32("a").unwrap_err().to_string();
    assert!(message.contains("tensor `a` is U8, expected F32"), "{message}");
    let message = file.to_f32("z").unwrap_err().to_string();
    assert!(message.contains("no tensor `z`") && message.contains("`b` F16 [3]"), "{message}");
}

#[test]
fn a_long_tensor_is_converted_in_chunks() {
    let count = 2 * CHUNK + 17;
    let header = format!(r#"{{"x":{{"dtype":"BF16","shape":[{count}],"data_offsets":[0,{}]}}}}"#, 2 * count);
    let data: Vec<u8> = (0..count).flat_map(|i| bf16::from_f32((i % 251) as f32).to_le_bytes()).collect();
    let values = open(&bytes(&header, &data)).unwrap().to_f32("x").unwrap();
    assert!(values.iter().enumerate().all(|(i, &v)| v == (i % 251) as f32));
    assert_eq!(values.len(), count);
}

#[test]
fn bad_files_are_explained() {
    let one = r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert!(complaint(b"").contains("is empty"));
    assert!(complaint(b"abc").contains("first eight bytes"));
    assert!(complaint(&[0xff; 64]).contains("first eight bytes"));
    assert!(complaint(&bytes(one, &[])).contains("cut off"));
    assert!(complaint(&bytes(one, &[0; 9])).contains("do not end where the file does"));
    assert!(complaint(&bytes("{nonsense", &[])).contains("header"));
    assert!(complaint(&bytes(one, &[0; 8])[..30]).contains("beyond the file's 30 bytes"));
    assert!(complaint(&bytes(&one.replace("[2]", "[3]"), &[0; 8])).contains("not as long as its shape"));
    assert!(complaint(&bytes(&one.replace("[0,8]", "[4,12]"), &[0; 12])).contains("tensor `x`"));
    let huge = one.replace("[2]", "[4294967296,4294967296,4294967296]");
    assert!(complaint(&bytes(&huge, &[0; 8])).contains("not as long as its shape"));
    assert!(complaint(b"version https://git-lfs.github.com/spec/v1\noid").contains("git lfs pull"));
    let folder = tempfile::tempdir().unwrap();
    assert!(TensorFile::open(folder.path(), "").unwrap_err().to_string().contains("not a regular file"));
    let missing = TensorFile::open(&folder.path().join("x"), "expected here").unwrap_err();
    assert!(missing.to_string().ends_with("no such file; expected here"));
}
