//! The lines of `main`: tensors by name, one op a line, each with the module it belongs to as its
//! location.

use std::collections::HashMap;
use std::fmt::Write as _;

use ir::{Dims, ElementType, TensorType};

/// A tensor of the function at hand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// With the `%`.
    pub name: String,
    pub element: ElementType,
    pub dims: Dims,
}

impl Tensor {
    /// The type as StableHLO writes it.
    pub(super) fn ty(&self) -> String {
        type_text(self.element.name(), &self.dims)
    }
}

/// A tensor type as StableHLO writes it.
pub(super) fn type_text(element: &str, dims: &[usize]) -> String {
    let sizes: String = dims.iter().map(|size| format!("{size}x")).collect();
    format!("tensor<{sizes}{element}>")
}

/// The type of `ty`, whose layout is the reader's to know.
pub(super) fn text_of(ty: &TensorType) -> String {
    type_text(ty.element.name(), &ty.shape)
}

/// A number as StableHLO writes it: the nearest of its type.
pub(super) fn number(x: f64, element: ElementType) -> String {
    match element {
        ElementType::I8 | ElementType::I32 => format!("{}", x as i32),
        _ if x.is_finite() => {
            // Digits need a point: 1e-6 is no number there.
            let text = format!("{x:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let point = if digits.contains('.') { "" } else { ".0" };
            format!("{digits}{point}e{exponent}")
        }
        // Not finite: as bits, high ones first.
        ElementType::F32 => format!("0x{:08X}", (x as f32).to_bits()),
        ElementType::Bf16 => format!("0x{:04X}", (x as f32).to_bits() >> 16),
        ElementType::F16 => format!(
            "0x{:04X}",
            if x.is_nan() {
                0x7e00
            } else if x > 0.0 {
                0x7c00
            } else {
                0xfc00
            }
        ),
    }
}

/// `[1, 2, 3]`.
pub(super) fn list(items: &[usize]) -> String {
    let items: Vec<String> = items.iter().map(usize::to_string).collect();
    format!("[{}]", items.join(", "))
}

/// The lines so far, and where the next op belongs.
#[derive(Debug, Default)]
pub(super) struct Body {
    text: String,
    /// The graph's value that is being made: names start with it.
    value: String,
    path: String,
    /// How often a name was asked for.
    names: HashMap<String, usize>,
}

impl Body {
    /// The following ops make the graph's value of this number, for the module `path`.
    pub(super) fn begin(&mut self, value: usize, path: &str) {
        self.value = format!("%v{value}");
        path.clone_into(&mut self.path);
    }

    /// All lines.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// A name that no other tensor has: that of the graph's value for an empty hint, else the hint
    /// behind it.
    pub(super) fn fresh(&mut self, hint: &str) -> String {
        let dot = if hint.is_empty() { "" } else { "." };
        let name = format!("{}{dot}{hint}", self.value);
        let count = self.names.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { name } else { format!("{name}.{count}") }
    }

    /// A line with no location: one that opens, parts or closes regions.
    pub(super) fn bracket(&mut self, line: &str) {
        let _ = writeln!(self.text, "    {line}");
    }

    /// A line, under the location of the module at hand.
    pub(super) fn line(&mut self, line: &str) {
        let _ = write!(self.text, "    {line}");
        if !self.path.is_empty() {
            let _ = write!(self.text, " loc({:?})", self.path);
        }
        self.text.push('\n');
    }

    /// An op written as `head : (operand types) -> type`.
    pub(super) fn op(
        &mut self,
        hint: &str,
        head: &str,
        operands: &[&Tensor],
        element: ElementType,
        dims: &[usize],
    ) -> Tensor {
        let result = Tensor { name: self.fresh(hint), element, dims: dims.into() };
        let operands: Vec<String> = operands.iter().map(|operand| operand.ty()).collect();
        self.line(&format!("{} = stablehlo.{head} : ({}) -> {}", result.name, operands.join(", "), result.ty()));
        result
    }

    /// An elementwise op: operands and result have one type.
    pub(super) fn elementwise(&mut self, hint: &str, mnemonic: &str, operands: &[&Tensor]) -> Tensor {
        let result = Tensor { name: self.fresh(hint), ..operands[0].clone() };
        let names: Vec<&str> = operands.iter().map(|operand| operand.name.as_str()).collect();
        self.line(&format!("{} = stablehlo.{mnemonic} {} : {}", result.name, names.join(", "), result.ty()));
        result
    }

    /// One number everywhere.
    pub(super) fn splat(&mut self, hint: &str, x: f64, element: ElementType, dims: &[usize]) -> Tensor {
        let result = Tensor { name: self.fresh(hint), element, dims: dims.into() };
        self.line(&format!("{} = stablehlo.constant dense<{}> : {}", result.name, number(x, element), result.ty()));
        result
    }

    /// `tensor` with elements of this floating-point type; itself if it has them.
    pub(super) fn to(&mut self, hint: &str, tensor: &Tensor, element: ElementType) -> Tensor {
        if tensor.element == element {
            return tensor.clone();
        }
        let dims = tensor.dims.clone();
        self.op(hint, &format!("convert {}", tensor.name), &[tensor], element, &dims)
    }

    /// `tensor` with its axis `i` as axis `axes[i]` of a tensor of these sizes, repeated along all
    /// others.
    pub(super) fn broadcast(&mut self, hint: &str, tensor: &Tensor, axes: &[usize], dims: &[usize]) -> Tensor {
        let head = format!("broadcast_in_dim {}, dims = {}", tensor.name, list(axes));
        self.op(hint, &head, &[tensor], tensor.element, dims)
    }

    /// The same elements in row-major order in other sizes.
    pub(super) fn reshape(&mut self, hint: &str, tensor: &Tensor, dims: &[usize]) -> Tensor {
        self.op(hint, &format!("reshape {}", tensor.name), &[tensor], tensor.element, dims)
    }

    /// The elements `start..limit` of each axis, every `stride`th.
    pub(super) fn slice(
        &mut self,
        hint: &str,
        tensor: &Tensor,
        start: &[usize],
        limit: &[usize],
        stride: &[usize],
    ) -> Tensor {
        let (mut ranges, mut dims) = (Vec::new(), Dims::new());
        for ((start, limit), stride) in start.iter().zip(limit).zip(stride) {
            let step = if *stride == 1 { String::new() } else { format!(":{stride}") };
            ranges.push(format!("{start}:{limit}{step}"));
            dims.push((limit - start).div_ceil(*stride));
        }
        let head = format!("slice {} [{}]", tensor.name, ranges.join(", "));
        self.op(hint, &head, &[tensor], tensor.element, &dims)
    }

    /// The elements `range` along one axis.
    pub(super) fn slice_along(
        &mut self,
        hint: &str,
        tensor: &Tensor,
        axis: usize,
        range: std::ops::Range<usize>,
    ) -> Tensor {
        let (mut start, mut limit) = (Dims::from_elem(0, tensor.dims.len()), tensor.dims.clone());
        (start[axis], limit[axis]) = (range.start, range.end);
        let stride = Dims::from_elem(1, tensor.dims.len());
        self.slice(hint, tensor, &start, &limit, &stride)
    }

    /// The tensors one behind the other along `axis`; the only one as it is.
    pub(super) fn concatenate(&mut self, hint: &str, tensors: &[&Tensor], axis: usize) -> Tensor {
        if let [one] = tensors {
            return (*one).clone();
        }
        let mut dims = tensors[0].dims.clone();
        dims[axis] = tensors.iter().map(|tensor| tensor.dims[axis]).sum();
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let head = format!("concatenate {}, dim = {axis}", names.join(", "));
        self.op(hint, &head, tensors, tensors[0].element, &dims)
    }

    /// The sum over `axes`, which go.
    pub(super) fn sum(&mut self, hint: &str, tensor: &Tensor, axes: &[usize]) -> Tensor {
        let zero = self.splat("zero", 0.0, tensor.element, &[]);
        self.reduce(hint, tensor, axes, "add", &zero)
    }

    /// All elements along `axes`, which go, put together by an op, from `init` on.
    pub(super) fn reduce(
        &mut self,
        hint: &str,
        tensor: &Tensor,
        axes: &[usize],
        mnemonic: &str,
        init: &Tensor,
    ) -> Tensor {
        let dims: Dims = (0..tensor.dims.len()).filter(|axis| !axes.contains(axis)).map(|a| tensor.dims[a]).collect();
        let head = format!(
            "reduce({} init: {}) applies stablehlo.{mnemonic} across dimensions = {}",
            tensor.name,
            init.name,
            list(axes)
        );
        self.op(hint, &head, &[tensor, init], tensor.element, &dims)
    }

    /// The same tensors, which the compiler must have made, all of them, before it goes on with
    /// any.
    pub(super) fn barrier(&mut self, hints: &[&str], tensors: &[&Tensor]) -> Vec<Tensor> {
        let results: Vec<Tensor> =
            tensors.iter().zip(hints).map(|(t, hint)| Tensor { name: self.fresh(hint), ..(*t).clone() }).collect();
        let names =
            |tensors: &mut dyn Iterator<Item = &Tensor>| -> Vec<String> { tensors.map(|t| t.name.clone()).collect() };
        let types: Vec<String> = tensors.iter().map(|t| t.ty()).collect();
        let (to, from) = (names(&mut results.iter()), names(&mut tensors.iter().copied()));
        self.line(&format!(
            "{} = stablehlo.optimization_barrier {} : {}",
            to.join(", "),
            from.join(", "),
            types.join(", ")
        ));
        results
    }

    /// `tensor` times a number.
    pub(super) fn scaled(&mut self, hint: &str, tensor: &Tensor, factor: f64) -> Tensor {
        let factor = self.splat("factor", factor, tensor.element, &tensor.dims);
        self.elementwise(hint, "multiply", &[tensor, &factor])
    }
}
