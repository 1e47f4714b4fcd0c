//! Every fault that a model, latents or a clip can have, each with the message that it gives: exit
//! code 1, one line, and nothing written. What happens to the process itself is in `faults`.

mod common;

use std::fs;
use std::path::Path;

use common::{CONFIG, Tensor, latents_file, model, random, refused, tessera, text, write};
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

const DECODE: [&str; 8] = ["decode", "--model", ".", "--latents", "z.safetensors", "--unscaled", "--output", "x.npy"];
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const BIAS: &str = "decoder.conv_out.conv.bias";

/// A folder with the tiny model, its tensors changed by `edit`, and latents of one frame.
fn workplace(edit: impl FnOnce(&mut Vec<Tensor>)) -> TempDir {
    let folder = model(edit);
    latents_file(folder.path(), "z.safetensors", &[1, 4, 1, 2, 3], &random(5, 24));
    folder
}

/// Header and data of a safetensors file.
fn parts(bytes: &[u8]) -> (Value, Vec<u8>) {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).unwrap(), data.to_vec())
}

fn joined(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn weights_that_are_no_safetensors_file() {
    let folder = workplace(|_| {});
    let path = folder.path().join(WEIGHTS);
    let whole = fs::read(&path).unwrap();
    let refuses = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).unwrap();
        refused(folder.path(), &DECODE, &[&format!("{WEIGHTS}: not a usable "), expected]);
    };
    let length = whole.len();
    refuses(b"", "tensor file: it is empty; the download did not finish");
    refuses(&whole[..5], "its first eight bytes are not the length of a header");
    refuses(&whole[..100], "its header should end beyond the file's 100 bytes; it is cut off");
    refuses(&whole[..length - 1], &format!("({} bytes); it is cut off or too long, fetch it again", length - 1));
    refuses(&[&whole[..], b"\0"].concat(), &format!("({} bytes); it is cut off or too long", length + 1));
    for header_length in [u64::MAX, 1 << 62, 1 << 33] {
        let bytes = [&header_length.to_le_bytes(), &whole[8..]].concat();
        refuses(&bytes, "its first eight bytes are not the length of a header");
    }
}

#[test]
fn weights_whose_header_is_wrong() {
    let folder = workplace(|_| {});
    let path = folder.path().join(WEIGHTS);
    let (whole, data) = parts(&fs::read(&path).unwrap());
    let refuses = |edit: &dyn Fn(&mut Value), expected: &str| {
        let mut header = whole.clone();
        edit(&mut header);
        fs::write(&path, joined(&header, &data)).unwrap();
        refused(folder.path(), &DECODE, &[&format!("{WEIGHTS}: not a usable safetensors file: "), expected]);
    };
    let not_long = "a tensor is not as long as its shape and element type say";
    // Over the bytes of its neighbour, behind a gap, backwards, and beyond all addresses.
    let offsets: [i64; 2] = serde_json::from_value(whole[BIAS]["data_offsets"].clone()).unwrap();
    for by in [-offsets[0], -1, 1] {
        let moved = offsets.map(|offset| offset + by);
        refuses(&|header| header[BIAS]["data_offsets"] = json!(moved), "do not follow those of the tensor before");
    }
    refuses(&|header| header[BIAS]["data_offsets"] = json!([8, 2]), "the header is damaged");
    refuses(&|header| header[BIAS]["data_offsets"] = json!([0, u64::MAX]), "the header is damaged");
    refuses(&|header| header[BIAS]["shape"] = json!([4]), not_long);
    refuses(&|header| header[BIAS]["shape"] = json!([1u64 << 32, 1u64 << 32, 3]), not_long);
    refuses(&|header| header[BIAS]["shape"] = json!([-3]), "the header is damaged");
    refuses(&|header| header[BIAS]["dtype"] = json!("F31"), "the header is damaged");
}

#[test]
fn weights_of_another_kind() {
    let refuses = |edit: &dyn Fn(&mut Tensor), expected: &str| {
        let folder = workplace(|tensors| edit(tensors.iter_mut().find(|tensor| tensor.name == BIAS).unwrap()));
        let description = format!("{WEIGHTS}: not the decoder that config.json describes: 1 of ");
        refused(folder.path(), &DECODE, &[&description, expected]);
    };
    refuses(
        &|tensor| (tensor.dtype, tensor.bytes) = (Dtype::I64, vec![0; 24]),
        "tensors not of floats: `decoder.conv_out.conv.bias` is I64, expected F32, F16, BF16, F64, F8_E4M3 or F8_E5M2",
    );
    refuses(
        &|tensor| (tensor.shape, tensor.dtype, tensor.bytes) = (vec![0], Dtype::F32, vec![]),
        "tensors of another shape: `decoder.conv_out.conv.bias` is [0], expected [3]",
    );
    refuses(&|tensor| tensor.shape = vec![3, 1], "is [3, 1], expected [3]");
    let folder = workplace(|tensors| tensors.retain(|tensor| tensor.name != BIAS));
    refused(folder.path(), &DECODE, &["1 of 110 tensors missing: `decoder.conv_out.conv.bias`"]);
    let folder = workplace(|tensors| tensors.retain(|tensor| !tensor.name.starts_with("decoder.")));
    refused(folder.path(), &DECODE, &["none of its 110 tensors is there; the file has `encoder.", "others"]);
}

#[test]
fn a_tensor_too_many_is_a_warning() {
    let folder = workplace(|tensors| {
        tensors.push(Tensor { name: "decoder.extra".into(), shape: vec![1], dtype: Dtype::F32, bytes: vec![0; 4] });
    });
    let output = tessera(&DECODE, folder.path());
    let stderr = text(&output.stderr);
    let expected = "1 tensors that config.json does not describe, ignored: `decoder.extra`";
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(0), 1), "{stderr}");
    assert!(stderr.starts_with("warning: ") && stderr.contains(expected), "{stderr}");
    assert!(folder.path().join("x.npy").is_file());
}

/// Makes a tensor f32 and its last value another one.
fn set_last(tensors: &mut [Tensor], name: &str, value: f32) {
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
    let mut values = vec![0.5_f32; tensor.shape.iter().product()];
    *values.last_mut().unwrap() = value;
    (tensor.dtype, tensor.bytes) = (Dtype::F32, values.into_iter().flat_map(f32::to_le_bytes).collect());
}

#[test]
fn non_finite_weights_make_no_video() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let folder = workplace(|tensors| {
            set_last(tensors, BIAS, value);
            set_last(tensors, "encoder.conv_out.conv.bias", value);
        });
        let path = folder.path();
        let said =
            format!("values that are not finite, the first ({value}) in frame 0 of sample 0: weights are damaged");
        for output in ["x.npy", "x.mp4", "frames"] {
            let decode = [&DECODE[..7], &[output]].concat();
            refused(path, &decode, &["the decoder made ", &said, "--check-finite names the module"]);
        }
        latents_file(path, "clip.safetensors", &[1, 3, 1, 4, 6], &[-0.5; 72]);
        let encode = ["encode", "--model", ".", "--video", "clip.safetensors", "--output", "e.safetensors"];
        refused(path, &encode, &["the encoder made ", &said]);
        refused(
            path,
            &[&DECODE[..], &["--check-finite"]].concat(),
            &["of `decoder.conv_out`", "checkpoint is damaged"],
        );
    }
}

#[test]
fn sizes_beyond_all_memory() {
    let folder = workplace(|_| {});
    let path = folder.path();
    // Latents whose header claims more than there is, and dimensions whose product overflows.
    let tensor =
        |shape: Value, end: u64| json!({"latents": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}});
    for (shape, end) in [
        (json!([1, 4, 1u64 << 40, 2, 3]), 96),
        (json!([1, 4, 1u64 << 62, 1u64 << 62, 3]), 96),
        (json!([1, 4, 1u64 << 58, 2, 2]), 1u64 << 62),
    ] {
        fs::write(path.join("huge.safetensors"), joined(&tensor(shape, end), &[0; 96])).unwrap();
        let decode = ["decode", "--model", ".", "--latents", "huge.safetensors", "--output", "x.npy"];
        refused(path, &decode, &["huge.safetensors: not a usable safetensors file"]);
    }
    let emit = |more: &[&str], expected: &[&str]| {
        refused(path, &[&["emit", "--model", ".", "--step", "decode-first"], more].concat(), expected);
    };
    emit(&["--frames", "4611686018427387904"], &["decode-first of 1x4611686018427387904x", "address space"]);
    emit(&["--height", "4294967296", "--width", "4294967296"], &["address space"]);
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 4, 4, 3), }";
    let npy = [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &[0; 48]].concat();
    fs::write(path.join("huge.npy"), npy).unwrap();
    encode(
        path,
        "huge.npy",
        &["huge.npy: not a usable clip: |u1 [9223372036854775807, 4, 4, 3] is not what is in its"],
    );
    fs::write(path.join("huge.y4m"), "YUV4MPEG2 W4294967295 H4294967295 F25:1 C420\nFRAME\n").unwrap();
    encode(path, "huge.y4m", &["a frame of 4294967295x4294967295 (width x height); expected 1 to 67108864 pixels"]);
}

/// Encodes a clip, which must fail.
#[track_caller]
fn encode(folder: &Path, clip: &str, expected: &[&str]) {
    refused(folder, &["encode", "--model", ".", "--video", clip, "--output", "e.safetensors"], expected);
}

#[test]
fn clips_and_latents_without_frames() {
    let folder = workplace(|_| {});
    let path = folder.path();
    latents_file(path, "none.safetensors", &[1, 4, 0, 2, 3], &[]);
    refused(
        path,
        &["decode", "--model", ".", "--latents", "none.safetensors"],
        &["none.safetensors: tensor `latents` has shape [1, 4, 0, 2, 3]: an axis is empty"],
    );
    let empty = Tensor { name: "sample".into(), shape: vec![1, 3, 0, 4, 6], dtype: Dtype::F32, bytes: vec![] };
    write(&path.join("clip.safetensors"), &[empty]);
    encode(path, "clip.safetensors", &["its shape [1, 3, 0, 4, 6] has an empty axis: it has no frames"]);
    fs::write(path.join("clip.y4m"), "YUV4MPEG2 W4 H4 F25:1 C420\n").unwrap();
    encode(path, "clip.y4m", &["clip.y4m: not a usable clip: it has no frames"]);
    fs::create_dir(path.join("frames")).unwrap();
    encode(path, "frames", &["no PNG, JPEG or WebP in this folder"]);
    refused(path, &["emit", "--step", "encode-first", "--frames", "0"], &["must each be at least 1"]);
}

#[test]
fn tiles_along_time_of_a_model_that_has_none() {
    let folder = workplace(|_| {});
    let asked = [&DECODE[..], &["--tile-frames", "16/12"]].concat();
    let expected = ["tiles of 16 frames at a stride of 12", "has no tiles along time", "leave out --tile-frames"];
    refused(folder.path(), &asked, &expected);
    // Without any is what it does in any case.
    let off = [&DECODE[..], &["--tile-frames", "off"]].concat();
    assert!(tessera(&off, folder.path()).status.success());
}

#[test]
fn a_configuration_that_cannot_be() {
    let folder = workplace(|_| {});
    let refuses = |from: &str, to: &str, expected: &str| {
        assert!(CONFIG.contains(from));
        fs::write(folder.path().join("config.json"), CONFIG.replace(from, to)).unwrap();
        refused(folder.path(), &DECODE, &["config.json: ", expected]);
    };
    let groups = "norm_num_groups: expected a divisor of every channel count, but 3 groups do not divide \
                  block_out_channels[0] = 8";
    refuses("\"norm_num_groups\": 4", "\"norm_num_groups\": 3", groups);
    refuses("\"norm_num_groups\": 4", "\"norm_num_groups\": 0", "norm_num_groups: expected a whole number from 1 to");
    refuses("[8, 16]", "[8, 18446744073709551615]", "block_out_channels: expected whole numbers from 1 to 65536");
    refuses("[8, 16]", "[8, 1e30]", "block_out_channels: expected a list of positive whole numbers");
    refuses("}", "", "EOF while parsing");
}

#[test]
fn an_index_that_leads_astray() {
    let folder = workplace(|_| {});
    let path = folder.path();
    fs::rename(path.join(WEIGHTS), path.join("shard.safetensors")).unwrap();
    let refuses = |shard: &str, expected: &[&str]| {
        let index = json!({"weight_map": {BIAS: shard}}).to_string();
        fs::write(path.join(format!("{WEIGHTS}.index.json")), index).unwrap();
        refused(path, &DECODE, expected);
    };
    for shard in
        ["../shard.safetensors", "/etc/shard.safetensors", "a/../../shard.safetensors", "..\\shard.safetensors"]
    {
        let expected = format!("`weight_map` has tensor `{BIAS}` in `{}`", shard.escape_debug());
        refuses(shard, &["index.json: not a usable index of shards: ", &expected, "without any folder"]);
    }
    refuses("other.safetensors", &["other.safetensors: no such file", "the download or the copy is incomplete"]);
    // One that keeps to its folder is followed.
    let index = json!({"weight_map": {BIAS: "shard.safetensors"}}).to_string();
    fs::write(path.join(format!("{WEIGHTS}.index.json")), index).unwrap();
    assert_eq!(tessera(&DECODE, path).status.code(), Some(0));
}
