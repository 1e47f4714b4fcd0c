//! The decoder: latents to video (`MochiDecoder3D`).
//!
//! Nothing in it looks across time but causal convolutions: norms are of each frame. So a clip may
//! be decoded in steps, each from the states of the one before, to the bits of the whole.

use ir::rearrange::{CHANNELS_FASTEST, CHANNELS_SLOWEST, depth_to_space, with_outputs_in};
use ir::{BuildError, ElementType, TensorType, Value};
use smallvec::smallvec;

use super::blocks::residual_block;
use super::config::{Config, Expansion};
use crate::declaration::Declaration;
use crate::layers::{channel_last_linear, channels, linear_kernel, parameter, pointwise_convolution, space};

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let widths = &config.decoder_block_out_channels;
    let last = config.layers_per_block.len() - 1;
    let mut hidden = d.scope("conv_in", |d| {
        let hidden = pointwise_convolution(d, latents, widths[widths.len() - 1])?;
        d.returns(hidden);
        Ok(hidden)
    })?;
    hidden = d.scope("block_in", |d| mid_block(d, hidden, config.layers_per_block[last]))?;
    for (block, level) in (0..config.levels() - 1).rev().enumerate() {
        let layers = config.layers_per_block[last - 1 - block];
        hidden = d.scope(&format!("up_blocks.{block}"), |d| {
            let hidden = residual_blocks(d, hidden, layers)?;
            let output = d.scope("proj", |d| expand(d, hidden, widths[level], config.expansion(level)))?;
            d.returns(output);
            Ok(output)
        })?;
    }
    hidden = d.scope("block_out", |d| mid_block(d, hidden, config.layers_per_block[0]))?;
    hidden = d.silu(hidden)?;
    d.scope("proj_out", |d| channel_last_linear(d, hidden, config.out_channels, true))
}

/// Residual blocks alone (`MochiMidBlock3D` without attention).
fn mid_block(d: &mut Declaration<'_>, input: Value, layers: usize) -> Result<Value, BuildError> {
    let output = residual_blocks(d, input, layers)?;
    d.returns(output);
    Ok(output)
}

fn residual_blocks(d: &mut Declaration<'_>, input: Value, layers: usize) -> Result<Value, BuildError> {
    (0..layers).try_fold(input, |hidden, i| d.scope(&format!("resnets.{i}"), |d| residual_block(d, hidden)))
}

/// A linear layer that makes the channels of a block of places, and each block in its places.
///
/// The reference's blocks are channels, slowest, then places; they are made with the channels
/// fastest, which move as runs, and only a tap has them as the reference does.
fn expand(
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    Expansion { time, space: by }: Expansion,
) -> Result<Value, BuildError> {
    let (factors, orders) = ([time, by, by], [CHANNELS_SLOWEST, CHANNELS_FASTEST]);
    let all = outputs * time * by * by;
    let kernel = linear_kernel(d, all, channels(d, input))?;
    let bias = parameter(d, "bias", TensorType::plain(ElementType::F32, [all]))?;
    let kernel = with_outputs_in(d, kernel, factors, orders)?;
    let bias = with_outputs_in(d, bias, factors, orders)?;
    let product = d.convolution(input, kernel, None, None, None, [1, 1, 1], [[0, 0]; 3], 0)?;
    let blocks = d.add_bias(product, bias)?;
    d.returns_made(|d| {
        let (batch, [frames, rows, columns]) = (d.ty(blocks).shape[0], space(d, blocks));
        let last = d.transpose(blocks, smallvec![0, 2, 3, 4, 1])?;
        let places = batch * frames * rows * columns;
        let apart = d.reshape(last, TensorType::plain(ElementType::F32, [places, all / outputs, outputs]))?;
        let slowest = d.transpose(apart, smallvec![0, 2, 1])?;
        d.reshape(slowest, TensorType::plain(ElementType::F32, [batch, frames, rows, columns, all]))
    })?;
    depth_to_space(d, blocks, factors, CHANNELS_FASTEST)
}
