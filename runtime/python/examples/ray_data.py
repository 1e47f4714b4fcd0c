"""Latents to frames inside a pipeline of Ray Data: here, how bright each frame of a clip is.

    RAY_ADDRESS=auto python ray_data.py MODEL LATENTS OUTPUT

LATENTS is a folder of arrays of NumPy, [B, C, T, H, W] and scaled as pipelines of diffusers scale them;
OUTPUT gets files of Parquet. Nothing but what the last step leaves is written anywhere.
"""

import sys

import numpy as np
import ray.data

import tessera.ray


def brightness(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give the mean of every frame, from 0 to 1."""
    # [B, C, T, H, W] -> [B, T]
    return {"path": batch["path"], "brightness": (batch["frames"].mean(axis=(1, 3, 4)) + 1) / 2}


def main() -> None:
    """Run the pipeline."""
    model, latents, output = sys.argv[1:]
    # A row for each sample of a file's batch.
    clips = ray.data.read_numpy(latents, include_paths=True)
    decoded = clips.map_batches(
        tessera.ray.Decoder,
        fn_constructor_args=(model,),
        fn_constructor_kwargs={"latents": "data", "scaled": True},
        batch_size=1,
        num_cpus=1,
        concurrency=(1, 8),
    )
    decoded.map_batches(brightness, batch_size=4).write_parquet(output)


if __name__ == "__main__":
    main()
