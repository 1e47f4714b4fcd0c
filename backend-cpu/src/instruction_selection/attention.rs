//! The kernels of attention, softmax and linear.

use ir::{Node, Op, Value};

use super::{Place, Scheduler, UnsupportedOp};
use crate::attention::Attention;
use crate::element::Element;
use crate::kernel::{Kernel, LinearAttention};
use crate::panel::PanelFamily;

impl Scheduler<'_> {
    pub(super) fn linear_attention(&mut self, value: Value, node: &Node) -> Result<(), UnsupportedOp> {
        let &Op::LinearAttention { query, key, value: values, heads, epsilon } = &node.op else {
            unreachable!("called for linear attentions alone");
        };
        let tokens = |value: Value| self.graph.ty(value).shape.last_chunk::<2>().copied().unwrap_or([1, 1]);
        let ([queries, channels], [keys, outputs]) = (tokens(query), tokens(values));
        let attention = LinearAttention {
            sets: node.ty.elements() / (queries * outputs),
            heads,
            queries,
            keys,
            channels: channels / heads,
            outputs: outputs / heads,
            epsilon: (epsilon as f32).to_bits(),
            element: self.element(value)?,
        };
        let [query, key, values] = [self.read(query)?, self.read(key)?, self.read(values)?];
        let region = self.temporaries.take(attention.sums_bytes());
        let sums = Place::Temporary(region);
        self.call(value, Kernel::LinearAttentionSums(attention), vec![sums, key, values]);
        self.call(value, Kernel::LinearAttention(attention), vec![Place::Value(value), query, sums]);
        self.temporaries.give_back(region);
        Ok(())
    }

    pub(super) fn attention(&mut self, value: Value, node: &Node) -> Result<(), UnsupportedOp> {
        let Op::Attention { query, key, value: values, heads, scale, mask } = &node.op else {
            unreachable!("called for attentions alone");
        };
        let tokens = |value: Value| self.graph.ty(value).shape.last_chunk::<2>().copied().unwrap_or([1, 1]);
        let ([queries, channels], [keys, outputs]) = (tokens(*query), tokens(*values));
        let families = [keys, outputs / heads]
            .map(|columns| PanelFamily::for_columns(self.options.target.isa, Element::F32, columns));
        let attention = Attention {
            sets: node.ty.elements() / (queries * outputs),
            heads: *heads,
            queries,
            keys,
            channels: channels / heads,
            outputs: outputs / heads,
            factor: ((scale * std::f64::consts::LOG2_E) as f32).to_bits(),
            mask: *mask,
            element: self.element(value)?,
            panel_columns: families.map(|family| family.nr),
            panel_rows: families.map(PanelFamily::max_rows),
        };
        let mut arguments = vec![Place::Value(value), self.read(*query)?];
        let mut regions = vec![];
        let packed = [Kernel::PackKeys(attention), Kernel::PackValues(attention)].into_iter().zip(attention.packed());
        for ((kernel, words), operand) in packed.zip([*key, *values]) {
            let source = self.read(operand)?;
            if attention.packs() {
                arguments.push(source);
                continue;
            }
            let bytes = attention.matrices().saturating_mul(words).saturating_mul(size_of::<f32>());
            let region = self.temporaries.take(bytes);
            self.call(value, kernel, vec![Place::Temporary(region), source]);
            arguments.push(Place::Temporary(region));
            regions.push(region);
        }
        self.call(value, Kernel::Attention(attention), arguments);
        regions.into_iter().for_each(|region| self.temporaries.give_back(region));
        Ok(())
    }
}
