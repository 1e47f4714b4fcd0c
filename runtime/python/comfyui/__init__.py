"""Tessera's nodes for ComfyUI: this folder, or a link to it, goes into `custom_nodes`.

"Load VAE (Tessera)" opens a file of `models/vae` or `models/vae_approx`, and what it returns goes
wherever a VAE goes: VAE Decode, VAE Encode, both in tiles, and for inpainting.

| module | what lives there |
|---|---|
| `loader` | the node: which files there are, and what its inputs mean |
| `vae` | what nodes are given: images in, latents out, and back, as ComfyUI's own VAE has it |
| `first_stage` | the model in it: which tiles, whole clips, noise in front of decoders that want some |
| `small_models` | files of models that stand in for a VAE, and whose latents they take |
| `latents` | what ComfyUI has done to latents, and what the model needs done to them |
| `manager` | ComfyUI's progress bar, its manager of memory, its button that interrupts |
"""

from .loader import LoadVAE

NODE_CLASS_MAPPINGS = {"TesseraLoadVAE": LoadVAE}
NODE_DISPLAY_NAME_MAPPINGS = {"TesseraLoadVAE": "Load VAE (Tessera)"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
