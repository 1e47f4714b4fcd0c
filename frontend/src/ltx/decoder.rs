//! The decoder: latents to video, in patches (`LTXVideoDecoder3d`).

use ir::{BuildError, Value};

use super::blocks::{Draws, Way};
use super::embedding::{modulations, sinusoids, time_embedder};
use super::network::{Blocks, DecoderLevel, Network};
use crate::declaration::Declaration;
use crate::layers::channels;

/// Vectors that modulate the norms of a residual block: shift and scale of two.
const VECTORS_OF_A_BLOCK: usize = 4;

/// Declares what a step makes of latents `[batch, channel, time, height, width]`.
pub(super) fn decoder(network: &Network, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let plan = &network.decoder;
    let way =
        Way { generation: network.generation, causal: plan.causal, border: plan.border, epsilon: network.epsilon };
    let time = if plan.timestep { Some(sinusoids(d)?) } else { None };
    let mut draws = Draws::default();
    let mut hidden = d.scope("conv_in", |d| way.convolution(d, latents, plan.first))?;
    hidden = d.scope("mid_block", |d| {
        let output = blocks(way, d, hidden, plan.blocks, time, &mut draws)?;
        d.returns(output);
        Ok(output)
    })?;
    for (number, level) in plan.levels.iter().enumerate() {
        hidden = d.scope(&format!("up_blocks.{number}"), |d| {
            let output = up_block(way, d, hidden, level, time, &mut draws)?;
            d.returns(output);
            Ok(output)
        })?;
    }
    let by = match time {
        Some(time) => {
            let count = channels(d, hidden);
            let embedded = time_embedder(d, time, 2 * count)?;
            let [by] = modulations::<1>(d, embedded, count)?;
            Some(by)
        }
        None => None,
    };
    hidden = d.scope("norm_out", |d| way.norm(d, hidden, by))?;
    hidden = d.silu(hidden)?;
    let [_, outputs] = network.channels;
    d.scope("conv_out", |d| way.convolution(d, hidden, outputs * network.patch * network.patch))
}

/// A change of the number of channels, a sampler, residual blocks (`LTXVideoUpBlock3d`).
fn up_block(
    way: Way,
    d: &mut Declaration<'_>,
    input: Value,
    level: &DecoderLevel,
    time: Option<Value>,
    draws: &mut Draws,
) -> Result<Value, BuildError> {
    let mut hidden = input;
    if level.inputs != level.outputs {
        hidden = d.scope("conv_in", |d| way.residual_block(d, hidden, level.outputs, None, None))?;
    }
    if let Some(factors) = level.factors {
        hidden = d.scope("upsamplers.0", |d| way.upsample(d, hidden, level, factors))?;
    }
    blocks(way, d, hidden, level.blocks, time, draws)
}

/// Residual blocks in a row, modulated by what this module makes of the timestep.
fn blocks(
    way: Way,
    d: &mut Declaration<'_>,
    input: Value,
    blocks: Blocks,
    time: Option<Value>,
    draws: &mut Draws,
) -> Result<Value, BuildError> {
    let (mut hidden, count) = (input, channels(d, input));
    let embedded = match time {
        Some(time) => Some(time_embedder(d, time, VECTORS_OF_A_BLOCK * count)?),
        None => None,
    };
    for layer in 0..blocks.layers {
        let draws = blocks.noise.then_some(&mut *draws);
        hidden = d.scope(&format!("resnets.{layer}"), |d| way.residual_block(d, hidden, count, embedded, draws))?;
    }
    Ok(hidden)
}
