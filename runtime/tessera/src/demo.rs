//! The demo: a small model and a clip's latents that are part of the program, so that it can be
//! tried without a download.
//!
//! The latents are of a scene of Big Buck Bunny; the model has the architecture of a published VAE
//! in a small size.

use std::path::Path;

use std::sync::Arc;

use frontend::{Autoencoder, read_config};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::latents::{Latents, LatentsLayout};
use crate::tensor_file::TensorFile;
use crate::vae::Vae;

/// Whose film the demo's latents are of, as its licence asks to be said.
pub const CREDIT: &str = "Big Buck Bunny, (c) Blender Foundation, www.bigbuckbunny.org, CC BY 3.0";

const CONFIG: &str = include_str!("../../demo/config.json");
const WEIGHTS: &[u8] = include_bytes!("../../demo/diffusion_pytorch_model.safetensors");
const LATENTS: &[u8] = include_bytes!("../../demo/bunny.safetensors");

/// The model's declaration.
///
/// # Errors
/// None, as long as the program was built of what belongs together.
pub fn model() -> Result<Arc<dyn Autoencoder>> {
    let path = Path::new("demo/config.json");
    let (model, _) = read_config(CONFIG).map_err(|cause| Error::Config { path: path.into(), cause })?;
    Ok(model)
}

/// The model with its weights.
///
/// # Errors
/// As [`model`].
pub fn vae() -> Result<Vae> {
    Vae::new(model()?, checkpoint()?)
}

/// The model's weights.
///
/// # Errors
/// As [`model`].
pub fn checkpoint() -> Result<Checkpoint> {
    let weights = TensorFile::from_static(Path::new("demo/diffusion_pytorch_model.safetensors"), WEIGHTS)?;
    Ok(Checkpoint::from_file(weights))
}

/// The latents as the pipeline saves them: still scaled, in [B, C, T, H, W].
///
/// # Errors
/// As [`model`].
pub fn latents() -> Result<Latents> {
    let file = TensorFile::from_static(Path::new("demo/bunny.safetensors"), LATENTS)?;
    Ok(Latents::from_file(&file, None, LatentsLayout::Btchw, model()?.channels().latents, false)?.0)
}
