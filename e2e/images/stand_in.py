"""A shared library that has the names of absent ones and none of their content."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e.images.cache import cache_directory
from e2e.images.commands import run_logged
from e2e.images.errors import ImageError


NM_BOUND_SECONDS = 120.0
COMPILE_BOUND_SECONDS = 120.0

SOURCE = """\
#include <stdio.h>
#include <stdlib.h>

static void absent(const char *name)
{
	fprintf(stderr, "%s was called, but this image is for CPUs and has none of NVIDIA's libraries\\n", name);
	abort();
}

"""


def undefined_names(nm_output: str, prefixes: tuple[str, ...]) -> list[str]:
    """Return the names that libraries want from elsewhere and that start with one of `prefixes`, sorted, each once.

    `nm_output` is what `nm --dynamic --undefined-only` prints: a kind and a name, perhaps with `@` and a version.
    """
    names = {line.split()[-1].split("@")[0] for line in nm_output.splitlines() if len(line.split()) == 2}
    return sorted(name for name in names if name.startswith(prefixes))


def source_of(names: Iterable[str]) -> str:
    """Return the C source of the library."""
    return SOURCE + "".join(f'void {name}(void) {{ absent("{name}"); }}\n' for name in names)


def write_stand_in(*, users: Sequence[Path], prefixes: tuple[str, ...], targets: Sequence[Path]) -> None:
    """Write the library to each of `targets`, with every name that `users` want and that starts with a prefix.

    Raises `ImageError` when they want none, which means that they are not what this was made for.
    """
    listing = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", *users],
        capture_output=True,
        text=True,
        check=True,
        timeout=NM_BOUND_SECONDS,
    )
    names = undefined_names(listing.stdout, prefixes)
    if not names:
        raise ImageError(f"None of {', '.join(user.name for user in users)} is linked against {', '.join(prefixes)}.")
    with TemporaryDirectory() as directory:
        source, library = Path(directory) / "absent.c", Path(directory) / "absent.so"
        source.write_text(source_of(names))
        # Some of the names are ones that the compiler knows otherwise: no matter, they are never called.
        command: list[str | Path] = [
            "cc",
            "-shared",
            "-fPIC",
            "-O1",
            "-w",
            "-Wl,--build-id=none",
            "-o",
            library,
            source,
        ]
        run_logged(command, cache_directory() / "logs" / "stand-in.log", bound_seconds=COMPILE_BOUND_SECONDS)
        content = library.read_bytes()
    for target in targets:
        target.write_bytes(content)
        target.chmod(0o644)
