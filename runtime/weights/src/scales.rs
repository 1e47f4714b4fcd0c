//! The scales of weights of eight bits: tensors beside a weight by which its values are multiplied,
//! one for all of them or one for each of its outputs, as ComfyUI and others write them.

use files::tensor_file::{Dtype, TensorFile, TensorView};

/// What a weight's scale is called where the weight's name ends with `weight`.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// What else stands beside weights of eight bits, and is not for us: the scales of activations, and
/// marks that there are scales.
const BESIDE: [&str; 5] = ["scale_input", "input_scale", "scaled_fp8", "comfy_quant", "weight_scale_inv"];

/// Whether values of this type may have a scale.
pub(crate) fn may_have_scale(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2)
}

/// Whether a tensor of this name stands beside weights of eight bits.
pub(crate) fn is_beside(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    SCALES.contains(&last) || BESIDE.contains(&last)
}

/// The scale of a weight of eight bits, by its name in its file: the scale's name, and itself.
pub(crate) fn scale<'a>(files: &'a [TensorFile], weight: &str) -> Option<(String, TensorView<'a>)> {
    let module = weight.strip_suffix("weight")?;
    SCALES.iter().find_map(|scale| {
        let name = format!("{module}{scale}");
        let view = files.iter().find_map(|file| file.tensor(&name))?;
        Some((name, view))
    })
}

/// The scale by blocks of a weight, which is not read: its name.
pub(crate) fn scale_by_blocks(files: &[TensorFile], weight: &str) -> Option<String> {
    let name = format!("{weight}_scale_inv");
    files.iter().any(|file| file.shape(&name).is_some()).then_some(name)
}

/// Multiplies `values`, row-major with `outputs` rows, by `scale`: one number, or one a row.
/// Returns whether it is as many.
pub(crate) fn multiply(values: &mut [f32], outputs: usize, scale: &[f32]) -> bool {
    match scale {
        [scale] => values.iter_mut().for_each(|value| *value *= scale),
        scales if scales.len() == outputs && outputs > 0 => {
            let row = (values.len() / outputs).max(1);
            for (values, scale) in values.chunks_mut(row).zip(scales) {
                values.iter_mut().for_each(|value| *value *= scale);
            }
        }
        _ => return false,
    }
    true
}
