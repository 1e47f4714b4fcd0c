//! The functions and classes of Python that a pickle of tensors may name: this list, and no other.

use safetensors::Dtype;

/// The functions and classes that a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// `_rebuild_tensor`, `_rebuild_tensor_v2`: a tensor of a storage's type.
    RebuildTensor,
    /// `_rebuild_tensor_v3`: a tensor that says its type.
    RebuildTensorV3,
    /// A tensor that is a parameter.
    RebuildParameter,
    /// A tensor, by another function, with a class and attributes.
    RebuildFromType,
    OrderedDict,
    Size,
    Device,
    Storage(Option<Dtype>),
    Dtype(Dtype),
    /// A class that is only ever mentioned.
    TensorClass,
}

impl Global {
    /// The global of this name, if it is on the list.
    pub(super) fn find(module: &str, name: &str) -> Option<Global> {
        Some(match (module, name) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
            ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch", "Size") => Global::Size,
            ("torch", "device") => Global::Device,
            ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Global::TensorClass,
            ("torch.storage", "UntypedStorage") => Global::Storage(None),
            ("torch" | "torch.cuda", _) if name.ends_with("Storage") => {
                Global::Storage(Some(match name.strip_suffix("Storage")? {
                    "Float" => Dtype::F32,
                    "Double" => Dtype::F64,
                    "Half" => Dtype::F16,
                    "BFloat16" => Dtype::BF16,
                    "Long" => Dtype::I64,
                    "Int" => Dtype::I32,
                    "Short" => Dtype::I16,
                    "Char" => Dtype::I8,
                    "Byte" => Dtype::U8,
                    "Bool" => Dtype::BOOL,
                    "ComplexFloat" => Dtype::C64,
                    "Untyped" => return Some(Global::Storage(None)),
                    _ => return None,
                }))
            }
            ("torch", _) => Global::Dtype(match name {
                "float32" | "float" => Dtype::F32,
                "float64" | "double" => Dtype::F64,
                "float16" | "half" => Dtype::F16,
                "bfloat16" => Dtype::BF16,
                "int64" | "long" => Dtype::I64,
                "int32" | "int" => Dtype::I32,
                "int16" | "short" => Dtype::I16,
                "int8" => Dtype::I8,
                "uint8" => Dtype::U8,
                "uint16" => Dtype::U16,
                "uint32" => Dtype::U32,
                "uint64" => Dtype::U64,
                "bool" => Dtype::BOOL,
                "float8_e4m3fn" => Dtype::F8_E4M3,
                "float8_e5m2" => Dtype::F8_E5M2,
                "float8_e4m3fnuz" => Dtype::F8_E4M3FNUZ,
                "float8_e5m2fnuz" => Dtype::F8_E5M2FNUZ,
                "complex64" => Dtype::C64,
                _ => return None,
            }),
            _ => return None,
        })
    }
}
