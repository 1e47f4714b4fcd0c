"""Decode a folder of latents on a cluster of Ray.

    RAY_ADDRESS=auto python ray_cluster.py MODEL LATENTS OUTPUT

Without RAY_ADDRESS a cluster is started on this machine alone. All machines have the package
`tessera-vae`, and the folders by the same paths. Run again, it makes only what is missing.
"""

import argparse
import sys

import tessera.ray


def main() -> None:
    """Decode what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("latents")
    parser.add_argument("output")
    parser.add_argument("--cpus", type=int, help="of an actor [default: those of the smallest machine]")
    parser.add_argument("--gibibytes", type=int, help="of memory of an actor [default: its machine's share]")
    arguments = parser.parse_args()
    try:
        made = tessera.ray.decode_folder(
            arguments.model,
            arguments.latents,
            arguments.output,
            num_cpus=arguments.cpus,
            memory=None if arguments.gibibytes is None else arguments.gibibytes << 30,
            progress=True,
        )
    except tessera.FolderError as error:
        sys.exit(str(error))
    print(f"{len(made)} clips are there")


if __name__ == "__main__":
    main()
