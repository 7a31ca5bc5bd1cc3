"""`python -m e2e.model OUT`: write the tiny gpt-oss checkpoint that tests and the demo serve."""

import argparse
from pathlib import Path

from e2e.model.variants import TEXTS, Variant
from e2e.model.write import write_model


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m e2e.model", description=__doc__)
    parser.add_argument("out", type=Path, help="directory to write to; it is made if it does not exist")
    parser.add_argument("--variant", type=Variant, choices=list(Variant), default=Variant.USUAL, help="what it says")
    arguments = parser.parse_args()
    out: Path = arguments.out
    write_model(out, texts=TEXTS[arguments.variant])
    size_bytes = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: a tiny gpt-oss, {size_bytes / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
