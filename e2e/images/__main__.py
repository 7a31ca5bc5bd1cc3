"""`python -m e2e.images`: build, import and name the project's images on a machine without Docker."""

import argparse
import shlex
import sys
from pathlib import Path

from e2e.images.build import build_and_import, build_images, prune_cache
from e2e.images.code_layer import CHECKOUT
from e2e.images.errors import ImageError
from e2e.images.names import OPERATOR_LOCK, SERVER_LOCK, image_names
from e2e.images.python_layer import LOCKS, write_lock
from e2e.images.vllm_layer import LOCK as VLLM_LOCK


def main() -> int:
    """Run the command line; return 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("names", help="print the images' names")
    commands.add_parser("build", help="build what the cache lacks")
    importing = commands.add_parser("import", help="build, and bring the images into a containerd")
    importing.add_argument("--ctr", required=True, help='command that reaches it, such as "ctr -a SOCKET -n k8s.io"')
    importing.add_argument("--store", type=Path, help="where it keeps its content, to check for free space")
    commands.add_parser("prune", help="remove what other versions of the checkout have left in the cache")
    commands.add_parser("lock", help="resolve the newest versions of the Python packages and write the lock files")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "names":
                print(image_names())
            case "build":
                for image in build_images():
                    print(image.name)
            case "import":
                build_and_import(shlex.split(arguments.ctr), store=arguments.store)
            case "prune":
                print(f"freed {prune_cache() / 2**30:.1f} GiB")
            case "lock":
                write_lock(requirements=LOCKS / "vllm.in", overrides=LOCKS / "vllm.overrides", lock=VLLM_LOCK)
                write_lock(requirements=LOCKS / "server.in", overrides=None, lock=SERVER_LOCK)
                write_lock(requirements=CHECKOUT / "pyproject.toml", overrides=None, lock=OPERATOR_LOCK)
    except ImageError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
