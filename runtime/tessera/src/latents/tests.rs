//! Latents read from files of every kind, and what is refused.

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::*;
use LatentsLayout::{Auto, Bchw, Bcthw, Btchw};

/// A folder with one file of f32 tensors, each counting up from 0, and the file's path.
fn file(tensors: &[(&str, &[usize])]) -> (TempDir, String) {
    labelled(tensors, &[])
}

/// The same with metadata.
fn labelled(tensors: &[(&str, &[usize])], labels: &[(&str, &str)]) -> (TempDir, String) {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| (0..shape.iter().product()).flat_map(|i: usize| (i as f32).to_le_bytes()).collect())
        .collect();
    let views = tensors
        .iter()
        .zip(&data)
        .map(|((name, shape), data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    save(safetensors::serialize(views, Some(labels)).unwrap())
}

fn save(bytes: Vec<u8>) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn auto_prefers_the_layout_of_the_pipeline_or_of_the_vae() {
    // Both axes have four: the preferred layout wins.
    let (_folder, path) = file(&[("x", &[1, 4, 4, 1, 2])]);
    let scaled = Latents::read(&path, Auto, 4, false).unwrap();
    let unscaled = Latents::read(&path, Auto, 4, true).unwrap();
    assert_eq!(unscaled.data[..4], [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(scaled.data[..4], [0.0, 1.0, 8.0, 9.0]);
    // Only one axis has three: it is the channels, whatever is preferred.
    let (_folder, path) = file(&[("x", &[2, 3, 5, 1, 2])]);
    for unscaled in [false, true] {
        assert_eq!(Latents::read(&path, Auto, 3, unscaled).unwrap().shape, [2, 3, 5, 1, 2]);
        assert_eq!(Latents::read(&path, Auto, 5, unscaled).unwrap().shape, [2, 5, 3, 1, 2]);
    }
    let message = Latents::read(&path, Auto, 16, false).unwrap_err().to_string();
    assert!(message.contains("[2, 3, 5, 1, 2]") && message.contains("16 latent channels"), "{message}");
}

#[test]
fn a_guess_is_said_to_be_one() {
    let (_folder, path) = file(&[("x", &[1, 4, 4, 1, 2])]);
    let account = |layout, unscaled| {
        let (latents, account) = Latents::read_with_account(&path, layout, 4, unscaled).unwrap();
        (account.layout, account.layout_is_guess, account.notes(latents.shape).concat())
    };
    let (layout, is_guess, note) = account(Auto, false);
    assert_eq!((layout, is_guess), (Btchw, true));
    assert!(note.contains("read as btchw") && note.contains("which is a guess"), "{note}");
    let (layout, is_guess, note) = account(Auto, true);
    assert_eq!((layout, is_guess), (Bcthw, true));
    assert!(note.contains("read as bcthw") && note.contains("which is a guess"), "{note}");
    // Who says it has no guess, nor has a file that says it or of which one reading fits.
    assert_eq!(account(Bcthw, false), (Bcthw, false, String::new()));
    assert_eq!(account(Btchw, true), (Btchw, false, String::new()));
    let labelled = labelled(&[("x", &[1, 4, 4, 1, 2])], &[("layout", "bcthw")]);
    let (_, account) = Latents::read_with_account(&labelled.1, Auto, 4, false).unwrap();
    assert_eq!((account.layout, account.layout_is_guess), (Bcthw, false));
    let (_folder, path) = file(&[("x", &[1, 4, 3, 1, 2])]);
    let (_, account) = Latents::read_with_account(&path, Auto, 4, false).unwrap();
    assert_eq!((account.layout, account.layout_is_guess), (Bcthw, false));
}

#[test]
fn four_axes_are_one_video() {
    let (_folder, path) = file(&[("x", &[3, 2, 1, 2])]);
    let (latents, account) = Latents::read_with_account(&path, Auto, 2, false).unwrap();
    assert_eq!((latents.shape, &latents.data[..4]), ([1, 2, 3, 1, 2], &[0.0, 1.0, 4.0, 5.0][..]));
    assert_eq!(account.notes(latents.shape), ["four axes: read as one video, [frames, channels, height, width]"]);
    let (latents, account) = Latents::read_with_account(&path, Auto, 3, false).unwrap();
    assert_eq!((latents.shape, &latents.data[..4]), ([1, 3, 2, 1, 2], &[0.0, 1.0, 2.0, 3.0][..]));
    assert_eq!(account.notes(latents.shape), ["four axes: read as one video, [channels, frames, height, width]"]);
    let message = Latents::read(&path, Auto, 5, false).unwrap_err().to_string();
    assert!(message.contains("5 latent channels"), "{message}");
}

#[test]
fn four_axes_of_images_are_a_batch() {
    let (_folder, path) = file(&[("x", &[3, 2, 1, 2])]);
    let (latents, account) = Latents::read_with_account(&path, Bchw, 2, false).unwrap();
    assert_eq!((latents.shape, &latents.data[..4]), ([3, 2, 1, 1, 2], &[0.0, 1.0, 2.0, 3.0][..]));
    assert_eq!((account.layout, account.notes(latents.shape)), (Bchw, vec![]));
    let message = Latents::read(&path, Bchw, 3, false).unwrap_err().to_string();
    assert!(message.contains("in layout bchw axis 1 is the channels and should be 3, not 2"), "{message}");
    // A file that says so, whatever the model.
    let (_folder, path) = labelled(&[("x", &[2, 2, 1, 2])], &[("layout", "bchw")]);
    assert_eq!(Latents::read(&path, Auto, 2, false).unwrap().shape, [2, 2, 1, 1, 2]);
    // One frame in five axes, in either order.
    for shape in [[1, 2, 1, 1, 2], [1, 1, 2, 1, 2]] {
        let (_folder, path) = file(&[("x", &shape)]);
        assert_eq!(Latents::read(&path, Bchw, 2, false).unwrap().shape, [1, 2, 1, 1, 2]);
    }
    let (_folder, path) = file(&[("parameters", &[2, 4, 1, 2])]);
    let mean = Latents::read(&path, Bchw, 2, true).unwrap();
    assert_eq!((mean.shape, mean.data), ([2, 2, 1, 1, 2], vec![0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0]));
}

#[test]
fn comfyui_files_are_read_as_comfyui_reads_them() {
    // Both layouts fit, and its own is known.
    let (_folder, path) = file(&[("latent_format_version_0", &[0]), ("latent_tensor", &[1, 2, 2, 1, 1])]);
    assert_eq!(Stored::read(&path, 2).unwrap(), Stored { scaled: Some(false), moments: false });
    let (latents, account) = Latents::read_with_account(&path, Auto, 2, false).unwrap();
    assert_eq!((latents.data, account.notes(latents.shape)), (vec![0.0, 1.0, 2.0, 3.0], vec![]));
    let (_folder, path) = file(&[("latent_tensor", &[1, 2, 1, 1, 1])]);
    let (latents, account) = Latents::read_with_account(&path, Auto, 2, true).unwrap();
    assert_eq!(latents.data, [0.0, 1.0 / 0.18215]);
    let notes = account.notes(latents.shape);
    assert!(notes[0].contains("divided by 0.18215, as ComfyUI does"), "{notes:?}");
    assert_eq!(Stored::read(&path, 2).unwrap().scaled, Some(false));
}

#[test]
fn a_named_layout_must_fit_and_is_transposed() {
    let (_folder, path) = file(&[("x", &[1, 2, 3, 1, 2])]);
    let latents = Latents::read(&path, Btchw, 3, true).unwrap();
    assert_eq!(latents.shape, [1, 3, 2, 1, 2]);
    assert_eq!(latents.data, [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]);
    let message = Latents::read(&path, Bcthw, 3, false).unwrap_err().to_string();
    assert!(message.contains("in layout bcthw axis 1 is the channels and should be 3, not 2"), "{message}");
}

#[test]
fn the_tensor_is_named_the_only_one_or_latents() {
    let (_folder, path) = file(&[("a", &[1, 2, 1, 1, 1]), ("b", &[1, 3, 1, 1, 1])]);
    assert_eq!(Latents::read(format!("{path}#b"), Auto, 3, true).unwrap().shape[1], 3);
    let message = Latents::read(&path, Auto, 3, true).unwrap_err().to_string();
    assert!(message.contains("Append `#NAME`") && message.contains("`b` F32 [1, 3, 1, 1, 1]"), "{message}");
    let message = Latents::read(format!("{path}#c"), Auto, 3, true).unwrap_err().to_string();
    assert!(message.contains("no tensor `c`") && message.contains("`a` F32"), "{message}");
    let (_folder, path) = file(&[("a", &[1]), ("latents", &[1, 3, 1, 1, 1])]);
    assert_eq!(Latents::read(&path, Auto, 3, true).unwrap().shape[1], 3);
}

#[test]
fn bad_tensors_are_refused() {
    let complaint = |shape: &[usize]| {
        let (_folder, path) = file(&[("x", shape)]);
        Latents::read(&path, Auto, 2, true).unwrap_err().to_string()
    };
    assert!(complaint(&[2, 2, 2]).contains("five axes") && complaint(&[1; 6]).contains("five axes"));
    assert!(complaint(&[1, 2, 0, 2, 2]).contains("an axis is empty"));

    let values = [1.0f32, f32::NAN, 2.0, f32::INFINITY];
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![1, 2, 1, 1, 2], &data).unwrap();
    let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
    let message = Latents::read(&path, Auto, 2, true).unwrap_err().to_string();
    assert!(
        message.contains("2 of 4 values") && message.contains("(NaN) at [0, 0, 0, 0, 1], in frame 0 of sample 0"),
        "{message}"
    );

    let view = TensorView::new(Dtype::I32, vec![1, 1, 1, 1, 4], &data).unwrap();
    let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
    assert!(Latents::read(&path, Auto, 1, true).unwrap_err().to_string().contains("is I32, expected"));
}

#[test]
fn the_frame_of_a_bad_value_is_named() {
    let mut values = [0.5f32; 12];
    values[5] = f32::INFINITY;
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![1, 3, 2, 1, 2], &data).unwrap();
    let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
    let complaint = |layout, channels| Latents::read(&path, layout, channels, true).unwrap_err().to_string();
    assert!(complaint(Bcthw, 3).contains("(inf) at [0, 1, 0, 0, 1], in frame 0 of sample 0"));
    let message = complaint(Btchw, 2);
    assert!(message.contains("(inf) at [0, 1, 0, 0, 1], in frame 1 of sample 0"), "{message}");
}

#[test]
fn of_moments_the_mean_is_taken() {
    let (_folder, path) = file(&[("parameters", &[2, 4, 1, 1, 2])]);
    assert_eq!(Stored::read(&path, 2).unwrap(), Stored { scaled: Some(false), moments: true });
    let mean = Latents::read(&path, Auto, 2, true).unwrap();
    assert_eq!((mean.shape, mean.data), ([2, 2, 1, 1, 2], vec![0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0]));
    // Latents of this name are latents.
    assert_eq!(Stored::read(&path, 4).unwrap(), Stored { scaled: None, moments: false });
    assert_eq!(Latents::read(&path, Auto, 4, true).unwrap().shape, [2, 4, 1, 1, 2]);
}

#[test]
fn latents_in_patches_are_taken_out_of_them() {
    let form = LatentForm { channels: 2, patch: 2, size: None };
    let (_folder, path) = file(&[("x", &[1, 8, 1, 2])]);
    let expected = [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0, 8.0, 10.0, 9.0, 11.0, 12.0, 14.0, 13.0, 15.0];
    let latents = Latents::read(&path, Bchw, form, false).unwrap();
    assert_eq!((latents.shape, &latents.data[..]), ([1, 2, 1, 2, 4], &expected[..]));
    assert_eq!(Stored::read(&path, form).unwrap(), Stored { scaled: None, moments: false });
    let (_folder, path) = file(&[("x", &[1, 2, 2, 4])]);
    assert_eq!(Latents::read(&path, Bchw, form, false).unwrap().shape, [1, 2, 1, 2, 4]);
    // ComfyUI keeps those of such models as the diffusion model has them.
    for (shape, scaled) in [([1, 8, 1, 2], true), ([1, 2, 2, 4], false)] {
        let (_folder, path) = file(&[(COMFY_NAME, &shape), (COMFY_MARK, &[0])]);
        assert_eq!(Stored::read(&path, form).unwrap().scaled, Some(scaled), "{shape:?}");
    }
    let (_folder, path) = file(&[("x", &[1, 4, 2, 4])]);
    let message = Latents::read(&path, Bchw, form, false).unwrap_err().to_string();
    assert!(message.contains("should be 2, or 8 in patches of 2x2, not 4"), "{message}");
}

#[test]
fn patches_in_a_row_are_an_image() {
    let (_folder, path) = file(&[("x", &[2, 2, 8])]);
    let form = LatentForm { channels: 2, patch: 1, size: Some([2, 4]) };
    let latents = Latents::read(&path, Bchw, form, false).unwrap();
    assert_eq!(latents.shape, [2, 2, 1, 2, 4]);
    assert_eq!(latents.data[..8], [0.0, 1.0, 8.0, 9.0, 2.0, 3.0, 10.0, 11.0]);
    assert_eq!(latents.data[8..12], [4.0, 5.0, 12.0, 13.0]);
    let complaint = |form| Latents::read(&path, Bchw, form, false).unwrap_err().to_string();
    let message = complaint(LatentForm { size: None, ..form });
    assert!(message.contains("`x` is 2 patches of 2x2 in a row, which are no square"), "{message}");
    let message = complaint(LatentForm { size: Some([4, 4]), ..form });
    assert!(message.contains("not those of latents of 4x4"), "{message}");
    let message = complaint(LatentForm::from(3));
    assert!(message.contains("have five axes"), "{message}");
    let (_folder, path) = file(&[("x", &[1, 4, 8])]);
    assert_eq!(Latents::read(&path, Bchw, 2, false).unwrap().shape, [1, 2, 1, 4, 4]);
}

#[test]
fn half_precision_is_read() {
    let f: Vec<u8> = [0.5f32, -3.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    let b: Vec<u8> = [0.5f32, -3.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    for (dtype, data) in [(Dtype::F16, f), (Dtype::BF16, b)] {
        let view = TensorView::new(dtype, vec![1, 2, 1, 1, 1], &data).unwrap();
        let (_folder, path) = save(safetensors::serialize([("x", view)], None).unwrap());
        assert_eq!(Latents::read(&path, Auto, 2, true).unwrap().data, [0.5, -3.0]);
    }
}
