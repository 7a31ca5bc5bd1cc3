"""HAProxy's maps: files that it reads when it starts, and the same contents in its memory while it runs."""

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.gateway_contract import Map


CHUNK_BYTES = 8192
"""Bytes of entries in one command: HAProxy takes what fits its buffer, 16 KiB."""
LOOK_SECONDS = 1.0
"""How often HAProxy is asked whether it was started anew, and a change is tried again that it did not take."""
_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VALUE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VERSION = re.compile(r"New version created: (\d+)")
_STARTED = re.compile(r"^(?:Pid|Start_time_sec): .*$", re.MULTILINE)

log = logging.getLogger("gptoss_runtime.activator")


class UnsafeEntry(ValueError):
    """A key or value that could be more than one word to HAProxy; the message names it."""


class Maps:
    """The maps as they should be, in files and in HAProxy."""

    def __init__(self, directory: Path, runtime: RuntimeApi) -> None:
        self._directory = directory
        self._runtime = runtime
        self._wanted: dict[Map, dict[str, str]] = {}
        self._taken: dict[Map, dict[str, str]] = {}
        self._used: set[Map] = set()
        self._process = ""
        self._changed = asyncio.Event()
        self._failing = False

    def write_missing(self) -> None:
        """Write every map that nobody has put anything into, since HAProxy wants the files. Raises OSError."""
        for name in Map:
            if name not in self._wanted:
                self.put(name, {})

    def put(self, name: Map, entries: Mapping[str, str]) -> None:
        """Make `entries` the contents of a map: in its file now, in HAProxy at once if it runs.

        Raises UnsafeEntry, and OSError when the file cannot be written.
        """
        for key, value in entries.items():
            if not (_KEY.fullmatch(key) and _VALUE.fullmatch(value)):
                raise UnsafeEntry(f"map {name}: {key!r} to {value!r} is refused: letters, digits, dots and dashes only")
        if self._wanted.get(name) == entries:
            return
        path = self._directory / name
        new = path.with_suffix(".new")
        new.write_text("".join(_lines(entries)), encoding="ascii")
        new.replace(path)
        self._wanted[name] = dict(entries)
        self._changed.set()

    async def keep(self) -> None:
        """Let HAProxy have every change, until cancelled. What it does not take is tried again every second."""
        while True:
            self._changed.clear()
            await self.apply()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()

    async def apply(self) -> bool:
        """Let HAProxy have what it does not have yet. Returns whether it has everything now."""
        try:
            await self._notice_a_new_start()
            for name, entries in list(self._wanted.items()):
                if name in self._used and self._taken.get(name) != entries:
                    taken = dict(entries)
                    await self._commit(name, taken)
                    self._taken[name] = taken
        except RuntimeApiError as error:
            if not self._failing and self._process:
                # Before the first start there is nothing to tell.
                log.warning("HAProxy keeps its old maps for now, and gets the new ones when it answers: %s", error)
            self._failing = True
            return False
        self._failing = False
        return True

    async def _notice_a_new_start(self) -> None:
        """Forget what HAProxy has if it is another process: it may have read files that were written later."""
        process = "\n".join(_STARTED.findall(await self._runtime.ask("show info")))
        if process != self._process:
            loaded = await self._runtime.ask("show map")
            # Its configuration names only the maps that some tier needs.
            self._used = {name for name in Map if f"({self._directory / name})" in loaded}
            self._taken.clear()
            self._process = process

    async def _commit(self, name: Map, entries: Mapping[str, str]) -> None:
        """Replace a map's contents; requests see the old ones or the new ones, never a part."""
        path = self._directory / name
        answer = await self._runtime.ask(f"prepare map {path}")
        found = _VERSION.search(answer)
        if found is None:
            raise RuntimeApiError(f"HAProxy has no map {path}: {answer.strip()!r}")
        version = found[1]
        for chunk in _chunks(entries):
            await self._runtime.order(f"add map @{version} {path} <<\n{chunk}")
        await self._runtime.order(f"commit map @{version} {path}")


def _lines(entries: Mapping[str, str]) -> Iterator[str]:
    return (f"{key} {value}\n" for key, value in sorted(entries.items()))


def _chunks(entries: Mapping[str, str]) -> Iterator[str]:
    """Yield the entries' lines in pieces that fit one command."""
    chunk = ""
    for line in _lines(entries):
        if len(chunk) + len(line) > CHUNK_BYTES:
            yield chunk
            chunk = ""
        chunk += line
    if chunk:
        yield chunk
