#!/usr/bin/env bash
#SBATCH --job-name=decode
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --requeue
# Decodes a folder of latents; each task of the array takes its share of the clips:
#     sbatch slurm.sh MODEL LATENTS OUTPUT
# The folders are on a file system that all nodes have. A task that is requeued, or an array that is
# submitted again, in whatever number of tasks, makes only what is missing.
set -euo pipefail
exec python - "$@" <<'PYTHON'
import os
import sys

import tessera

model, latents, output = sys.argv[1:]
first, count = (int(os.environ[f"SLURM_ARRAY_TASK_{name}"]) for name in ("MIN", "COUNT"))
options = {}
if cpus := os.environ.get("SLURM_CPUS_PER_TASK"):
    options["threads"] = int(cpus)
if mebibytes := os.environ.get("SLURM_MEM_PER_NODE"):
    # The same on all nodes, whatever else they have: so tiles, and pixels, are the same too.
    options["memory"] = f"{int(mebibytes) * 9 // 10}MiB"
try:
    made = tessera.decode_folder(
        model, latents, output, share=(int(os.environ["SLURM_ARRAY_TASK_ID"]) - first, count), **options
    )
except tessera.FolderError as error:
    sys.exit(str(error))
print(f"{len(made)} clips are there")
PYTHON
