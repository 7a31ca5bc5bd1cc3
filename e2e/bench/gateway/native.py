"""The programs of the bench that are written in C, compiled at first use."""

from dataclasses import dataclass
from pathlib import Path

from e2e.bench.cache import content_key, ensure, run_to_end


SOURCES = Path(__file__).parent / "native"
COMPILER = "cc"
FLAGS = ("-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror")
COMPILE_SECONDS = 120.0
WRK_SCRIPT = SOURCES / "chat.lua"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the compiled programs are."""

    stub: Path
    load: Path


def ensure_programs() -> Programs:
    """Return the programs, compiled from what is in the checkout. Raises BenchError with the compiler's words."""
    key = content_key(*(path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]"))), " ".join(FLAGS).encode())
    directory = ensure(f"native-{key}", _compile)
    return Programs(stub=directory / "stub", load=directory / "load")


def _compile(directory: Path) -> None:
    for name in ("stub", "load"):
        command = [COMPILER, *FLAGS, "-o", str(directory / name), str(SOURCES / f"{name}.c")]
        run_to_end(command, timeout_seconds=COMPILE_SECONDS)
