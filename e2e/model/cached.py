"""The checkpoint in the cache, for those who only want to serve it."""

import fcntl
import hashlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from e2e.model.variants import TEXTS, Variant
from e2e.model.write import write_model


SOURCES = Path(__file__).parent


def ensure_model() -> Path:
    """Return the directory of the checkpoint, written now if the cache lacks the one that this code would write."""
    return ensure_variant(Variant.USUAL)


def ensure_variant(name: str) -> Path:
    """Return the directory of a variant's checkpoint, as `ensure_model` does. Raises ValueError: there is none."""
    variant = Variant(name)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    models = Path(base) / "gptoss-operator" / "models"
    models.mkdir(parents=True, exist_ok=True)
    kind = "" if variant is Variant.USUAL else f"{variant}-"
    directory = models / f"tiny-gpt-oss-{kind}{_key()}"
    with (models / "lock").open("a") as lock:
        # Another writer is done in seconds; the kernel lets go of its lock however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            partial = directory.with_suffix(".partial")
            if partial.exists():
                shutil.rmtree(partial)
            write_model(partial, texts=TEXTS[variant])
            partial.rename(directory)
    return directory


def _key() -> str:
    """Return a key of the code that writes, and of the vocabulary's version."""
    total = hashlib.sha256(version("oss-harmony").encode())
    for path in sorted(SOURCES.glob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]
