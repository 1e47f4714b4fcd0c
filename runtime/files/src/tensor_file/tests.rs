//! Files of every kind that is read, and of kinds that are not.
//!
//! The files of `tests/data` that end in `.pt` were written by PyTorch 2.15: `views` of `base =
//! arange(24)` in all the ways in which tensors share a storage, among numbers and names; a file of
//! the old format, a program, and a whole module.

use std::io::Write;

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
fn what_was_released_is_read_again() {
    let header = r#"{"x":{"dtype":"F32","shape":[3000],"data_offsets":[0,12000]}}"#;
    let values: Vec<f32> = (0..3000).map(|n| n as f32 / 8.0).collect();
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = open(&bytes(header, &data)).unwrap();
    for _ in 0..2 {
        assert_eq!(*file.f32s("x").unwrap(), values);
        file.release("x");
        file.release("no such tensor");
    }
    assert_eq!(file.kept_bytes("x"), if cfg!(unix) { 0 } else { 12000 });
    let inside = TensorFile::from_static(Path::new("inside"), bytes(header, &data).leak()).unwrap();
    inside.release("x");
    assert_eq!((inside.kept_bytes("x"), inside.kept_bytes("y")), (12000, 0));
    assert_eq!(*inside.f32s("x").unwrap(), values);
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
    assert!(complaint(b"ab\x01").contains("first eight bytes"));
    assert!(complaint(b"abc").contains("tensor file: it is text that begins `abc`"));
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
    assert!(complaint(b"<!DOCTYPE html><title>Log in</title>").contains("tensor file: it is an HTML page (`Log in`)"));
    assert!(complaint(b"{\"error\":\"Repository not found\"}").contains("says `Repository not found`"));
    assert!(complaint(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00").contains("packed by gzip"));
    let folder = tempfile::tempdir().unwrap();
    assert!(TensorFile::open(folder.path(), "").unwrap_err().to_string().contains("not a regular file"));
    let missing = TensorFile::open(&folder.path().join("x"), "expected here").unwrap_err();
    assert!(missing.to_string().ends_with("no such file; expected here"));
}

#[test]
fn what_torch_saves_is_read() {
    for bytes in
        [&include_bytes!("../../tests/data/views.pt")[..], include_bytes!("../../tests/data/views-protocol-4.pt")]
    {
        let file = open(bytes).unwrap();
        let of = |name: &str| {
            let name = format!("state_dict.{name}");
            (file.shape(&name).unwrap().to_vec(), file.to_f32(&name).unwrap())
        };
        let counted = |numbers: &[i32]| numbers.iter().map(|&n| n as f32).collect::<Vec<_>>();
        let all: Vec<i32> = (0..24).collect();
        assert_eq!(of("plain"), (vec![2, 3, 4], counted(&all)));
        let transposed: Vec<i32> = (0..24).map(|i| i % 4 * 6 + i / 4).collect();
        assert_eq!(of("transposed"), (vec![6, 4], counted(&transposed)));
        assert_eq!(of("part"), (vec![2, 3], counted(&[3, 4, 5, 6, 7, 8])));
        assert_eq!(of("every_other"), (vec![12], counted(&[1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23])));
        assert_eq!(of("expanded"), (vec![2, 3], counted(&[0, 1, 2, 0, 1, 2])));
        let permuted: Vec<i32> = (0..24).map(|i| i / 6 + i % 6 / 3 * 12 + i % 3 * 4).collect();
        assert_eq!(of("permuted"), (vec![4, 2, 3], counted(&permuted)));
        assert_eq!(of("parameter"), (vec![2], counted(&[0, 1])));
        assert_eq!(of("half"), (vec![3], vec![0.5, -2.0, 65504.0]));
        assert_eq!(of("bfloat"), (vec![3], vec![0.5, -2.0, 3.0]));
        assert_eq!(of("double"), (vec![3], vec![0.5, -2.0, 3.0]));
        assert_eq!(of("scalar"), (vec![], vec![7.0]));
        assert_eq!(of("empty"), (vec![0, 3], vec![]));
        let integers = file.tensor("state_dict.long").unwrap();
        assert_eq!((integers.dtype, integers.shape, integers.bytes.len()), (Dtype::I64, &[2][..], 16));
        assert_eq!(file.tensor("state_dict.byte").unwrap().bytes, [1, 2]);
        assert_eq!(file.tensor("state_dict.flag").unwrap().dtype, Dtype::BOOL);
        assert_eq!(file.tensor("state_dict.eight").unwrap().dtype, Dtype::F8_E4M3);
        assert_eq!(file.to_f32("list.0").unwrap(), [1.0]);
        assert_eq!(file.to_f32("list.1.0").unwrap(), [0.0]);
        assert_eq!(file.to_f32("3").unwrap(), [1.0, 1.0]);
        assert_eq!(file.names().len(), 19);
        // Nothing is copied that lies in the file as it is.
        let whole = file.content.as_ptr_range();
        assert!(whole.contains(&file.tensor("state_dict.part").unwrap().bytes.as_ptr()));
        assert!(!whole.contains(&file.tensor("state_dict.transposed").unwrap().bytes.as_ptr()));
    }
}

#[test]
fn what_torch_does_not_save_as_tensors_is_refused_by_name() {
    let message = complaint(include_bytes!("../../tests/data/legacy.pt"));
    assert!(message.contains("before PyTorch 1.6; load it in PyTorch and save it again"), "{message}");
    let message = complaint(include_bytes!("../../tests/data/script.pt"));
    assert!(message.contains("TorchScript archive") && message.contains("state_dict()"), "{message}");
    let message = complaint(include_bytes!("../../tests/data/module.pt"));
    assert!(message.contains("`torch.nn.modules.linear.Linear`") && message.contains("not executed"), "{message}");
    assert!(
        complaint(b"\x80\x04\x95\x05\0\0\0\0\0\0\0}\x94.").contains("a Python pickle that `torch.save` did not write")
    );
}

/// A zip archive of these files, stored.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A pickle of one tensor of a FloatStorage `0`; the numbers are bytes.
fn tensor_pickle(offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let tuple =
        |numbers: &[u8]| [b"(".to_vec(), numbers.iter().flat_map(|n| [b'K', *n]).collect(), b"t".to_vec()].concat();
    let mut bytes =
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQK"
            .to_vec();
    bytes.push(offset);
    bytes.extend([tuple(shape), tuple(strides), b"\x89NtR.".to_vec()].concat());
    bytes
}

#[test]
fn a_tensor_alone_of_either_byte_order() {
    let values = [1.5f32, -2.0, 3.0];
    let big: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
    let little: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let pickle = tensor_pickle(1, &[2], &[1]);
    for (order, data) in [(Some("big"), &big), (Some("little"), &little), (None, &little)] {
        let mut files = vec![("x/data.pkl", &pickle[..]), ("x/data/0", data)];
        files.extend(order.map(|order| ("x/byteorder", order.as_bytes())));
        let file = open(&archive(&files)).unwrap();
        assert_eq!((file.names(), file.to_f32("tensor").unwrap()), (vec!["tensor".to_owned()], vec![-2.0, 3.0]));
    }
    let files = [("x/data.pkl", &pickle[..]), ("x/data/0", &little), ("x/byteorder", b"middle")];
    assert!(complaint(&archive(&files)).contains("neither `little` nor `big`"));
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let of = |offset, shape: &[u8], strides: &[u8]| {
        let pickle = tensor_pickle(offset, shape, strides);
        complaint(&archive(&[("x/data.pkl", &pickle), ("x/data/0", &[0; 16])]))
    };
    for message in [of(0, &[5], &[1]), of(2, &[3], &[1]), of(0, &[2, 2], &[3, 1]), of(255, &[1], &[1])] {
        assert!(message.contains("tensor `tensor`: it reaches beyond its storage"), "{message}");
    }
    assert!(of(0, &[2], &[1, 1]).contains("not described as `torch.save` does"));
    // More elements of one number than can be counted, and more than are read.
    assert!(of(0, &[200; 9], &[0; 9]).contains("reaches beyond"));
    assert!(of(0, &[200; 5], &[0; 5]).contains("repeats its storage more often than is read"));
    let pickle = tensor_pickle(0, &[1], &[1]);
    assert!(complaint(&archive(&[("x/data.pkl", &pickle)])).contains("its storage is not in the archive"));
    assert!(complaint(&archive(&[("x/data.pkl", b"\x80\x02}.")])).contains("there is no tensor in it"));
    assert!(complaint(&archive(&[("a/data.pkl", &pickle), ("b/data.pkl", &pickle)])).contains("more than one"));
    assert!(complaint(&archive(&[("model.safetensors", &pickle)])).contains("zip archive (of `model.safetensors`"));
}

#[test]
fn dictionaries_that_hold_each_other_end() {
    let of = |pickle: &[u8]| complaint(&archive(&[("x/data.pkl", pickle)]));
    // One that holds itself, and forty that hold the one before twice.
    assert!(of(b"\x80\x02}q\x00U\x01ah\x00s.").contains("too often or too deep"));
    let mut chain = b"\x80\x02}q\x00".to_vec();
    (0..40).for_each(|n| chain.extend([b"}q", &[n + 1][..], b"(U\x01ah", &[n], b"U\x01bh", &[n], b"u"].concat()));
    chain.push(b'.');
    assert!(of(&chain).contains("too often or too deep"));
}

#[test]
fn every_cut_and_every_changed_byte_of_an_archive_is_survived() {
    let whole = include_bytes!("../../tests/data/views.pt");
    for end in (0..whole.len()).step_by(17) {
        assert!(open(&whole[..end]).is_err(), "{end}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x55;
        let Ok(file) = open(&bytes) else { continue };
        for name in file.names() {
            let _ = file.to_f32(&name);
        }
    }
}

/// An `.npy` of this element type and order.
fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn numpy_arrays_are_read_in_every_order() {
    let values = [0.5f32, -2.0, 3.0, 4.0, 5.0, 6.0];
    let little: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let big: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
    let half: Vec<u8> = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
    let double: Vec<u8> = values.iter().flat_map(|&value| f64::from(value).to_be_bytes()).collect();
    for (descr, data) in [("<f4", &little), (">f4", &big), ("<f2", &half), (">f8", &double)] {
        let file = open(&npy(descr, "False", "(2, 3)", data)).unwrap();
        assert_eq!((file.shape("array").unwrap(), file.to_f32("array").unwrap()), (&[2, 3][..], values.to_vec()));
        let file = open(&npy(descr, "True", "(2, 3)", data)).unwrap();
        assert_eq!(file.to_f32("array").unwrap(), [0.5, 3.0, 5.0, -2.0, 4.0, 6.0], "{descr}");
    }
    assert!(complaint(&npy("<f4", "False", "(2, 4)", &little)).contains("NumPy file: <f4 [2, 4] is not what is in"));
    assert!(complaint(&npy("|V2", "False", "(2,)", &[0; 4])).contains("how NumPy saves bfloat16; save it as float32"));
    assert!(complaint(&npy("|O", "False", "(2,)", &[0; 4])).contains("Python objects, which are not executed"));
    assert!(complaint(&npy("<U7", "False", "(2,)", &[0; 4])).contains("its elements are <U7; expected <f4"));
    let huge = "(4294967296, 4294967296, 4294967296)";
    assert!(complaint(&npy("<f4", "True", huge, &little)).contains("is not what is in"));
}

#[test]
fn numpy_archives_are_read_packed_too() {
    let array = npy("<f4", "True", "(2, 2)", &[1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat());
    let file = open(&archive(&[("a.npy", &array), ("b/c.npy", &array)])).unwrap();
    assert_eq!(
        (file.names(), file.to_f32("b/c").unwrap()),
        (vec!["a".to_owned(), "b/c".into()], vec![1.0, 3.0, 2.0, 4.0])
    );
    // What numpy.savez_compressed writes.
    let packed = open(include_bytes!("../../tests/data/packed.npz")).unwrap();
    assert_eq!(packed.names(), ["latents", "steps"]);
    assert_eq!(packed.to_f32("latents").unwrap(), (0..24).map(|n| n as f32).collect::<Vec<_>>());
}
