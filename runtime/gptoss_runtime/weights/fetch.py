"""One fetch, from the order to the marker. Whatever interrupts it, the next one goes on."""

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gptoss_runtime.orders import WeightsOrder
from gptoss_runtime.weights.check import Checker
from gptoss_runtime.weights.choice import INDEX, needed_files
from gptoss_runtime.weights.errors import BadOrderError, FetchError
from gptoss_runtime.weights.listing import Contents, RemoteFile, Source
from gptoss_runtime.weights.lock import locked
from gptoss_runtime.weights.marker import (
    MARKER,
    MarkedFile,
    Marker,
    read_marker,
    sizes_in,
    sync_directory,
    write_marker,
)
from gptoss_runtime.weights.patience import Patience, Stopped
from gptoss_runtime.weights.progress import GB, Progress
from gptoss_runtime.weights.room import require_room
from gptoss_runtime.weights.stage import Stage
from gptoss_runtime.weights.transfer import CONNECTIONS, RANGE_BYTES, Line, text_of


TOOL = "gptoss-fetch 1"
TRIES = 2
"""A file that is wrong once came damaged; one that is wrong twice is wrong where it comes from."""

log = logging.getLogger("gptoss_runtime.weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What has to be done for a directory."""

    kept: tuple[MarkedFile, ...]
    """Lie where they belong."""
    unknown: tuple[RemoteFile, ...]
    """Lie where they belong with the right size, but nobody has noted that they are right."""
    staged: tuple[MarkedFile, ...]
    """Are complete, and have to be moved."""
    missing: tuple[RemoteFile, ...]


def decide_work(
    files: Sequence[RemoteFile], marker: Marker | None, sizes: dict[str, int], staged: dict[str, MarkedFile]
) -> Work:
    """Return what is left to do; `sizes` are those of what lies there, in bytes, `staged` is by identity. Pure."""
    marked = {file.identity: file for file in marker.files} if marker else {}
    kept, unknown, waiting, missing = [], [], [], []
    for file in files:
        there = sizes.get(file.name) == file.size
        if there and file.identity in marked:
            kept.append(marked[file.identity])
        elif file.identity in staged:
            waiting.append(staged[file.identity])
        elif there and file.digest and marker is None:
            unknown.append(file)
        else:
            missing.append(file)
    return Work(kept=tuple(kept), unknown=tuple(unknown), staged=tuple(waiting), missing=tuple(missing))


def is_complete(directory: Path, order: WeightsOrder) -> bool:
    """Return whether the directory holds what the order asks for.

    Raises BadOrderError where it holds something else, OSError where it cannot be read.
    """
    marker = read_marker(directory)
    if marker is None:
        return False
    if misfit := marker.misfit(order):
        raise BadOrderError(f"{directory} is not for these weights: {misfit}; give each its own directory")
    damaged = marker.damaged(sizes_in(directory))
    for file in damaged:
        log.warning("%s is missing or not %d bytes long: it is fetched again", directory / file.name, file.size)
    return not damaged


def fetch(order: WeightsOrder, source: Source, patience: Patience) -> None:
    """Make the order's directory hold its weights. Raises FetchError, BadOrderError, OSError."""
    directory = Path(order.directory)
    stage = Stage(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with locked(directory.parent / f".{directory.name}.lock", stage=stage.path):
        if is_complete(directory, order):
            log.info("%s was completed meanwhile", directory)
            return
        try:
            _fetch(order, source, patience, stage)
        except Stopped:
            raise patience.reason from None
        except Exception as error:
            patience.give_up(error)
            raise


def _fetch(order: WeightsOrder, source: Source, patience: Patience, stage: Stage) -> None:
    directory = Path(order.directory)
    marker = read_marker(directory)
    # The other files are of the marker's commit, so those that are missing are too.
    contents = patience.insist(lambda: source.open(marker.commit if marker else ""))
    what = f"{order.source} at {contents.commit}" if contents.commit else order.source
    log.info("Fetching %s from %s into %s", what, source.host, directory)
    files = _needed(order, source, patience, contents)
    sizes = sizes_in(directory)
    _refuse_strangers(directory, stage, sizes, files)
    stage.prepare(files)
    staged = {file.identity: there for file in files if (there := stage.checked(file))}
    work = decide_work(files, marker, sizes, staged)
    checker = Checker()
    right = {file: sha256 for file in work.unknown if (sha256 := checker.sha256(file, directory / file.name))}
    missing = [*work.missing, *(file for file in work.unknown if file not in right)]
    require_room(directory, sum(file.size - stage.part_size(file) for file in missing))
    _bring(missing, source, patience, checker, stage)
    placed = [there for file in files if (there := stage.checked(file))]
    if placed and not contents.commit:
        # The old marker might fit a mixture of two states, which only a commit rules out: it knows sizes alone.
        (directory / MARKER).unlink(missing_ok=True)
    for file in placed:
        stage.move_out(file, directory)
    sync_directory(directory)
    kept = [MarkedFile(name=f.name, size=f.size, sha256=sha256, identity=f.identity) for f, sha256 in right.items()]
    write_marker(
        directory,
        Marker(
            source=order.source,
            revision=order.revision,
            endpoint=order.endpoint,
            commit=contents.commit,
            files=tuple(sorted([*work.kept, *kept, *placed], key=lambda file: file.name)),
            tool=TOOL,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
    stage.remove()
    total = sum(file.size for file in files)
    log.info("%s is complete: %d files, %.1f GB, %d of them fetched", directory, len(files), total / GB, len(missing))


def _needed(order: WeightsOrder, source: Source, patience: Patience, contents: Contents) -> list[RemoteFile]:
    """Return the files to have."""

    def described(name: str) -> RemoteFile:
        return patience.insist(lambda: source.describe(name))

    try:
        index = text_of(patience, source, described(INDEX)) if INDEX in contents.names else None
        names = needed_files(contents.names, index)
    except FetchError as error:
        raise FetchError(f"{order.source}: {error}") from error
    return [described(name) for name in names]


def _refuse_strangers(directory: Path, stage: Stage, sizes: dict[str, int], files: Sequence[RemoteFile]) -> None:
    """Raise FetchError where weights lie that are not the source's, since vLLM would load them too."""
    strangers = sorted(
        name for name in sizes if name.endswith(".safetensors") and name not in {file.name for file in files}
    )
    for name in strangers:
        if not stage.path.exists():
            raise FetchError(
                f"{directory} holds {name}, which the source does not: remove it, or use another directory"
            )
        # An earlier fetch of ours was interrupted at its very end, and the source has changed since.
        log.warning("Removing %s, which the source no longer has", directory / name)
        (directory / name).unlink()


def _bring(missing: Sequence[RemoteFile], source: Source, patience: Patience, checker: Checker, stage: Stage) -> None:
    """Bring all of `missing` to the stage, checked. Each is read back while the next one comes."""
    done = sum(stage.part_size(file) for file in missing)
    progress = Progress(total=sum(file.size for file in missing), done=done)
    pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="range")
    reader = ThreadPoolExecutor(1, thread_name_prefix="check")
    line = Line(source=source, patience=patience, progress=progress, pool=pool)
    queue = deque((file, 1) for file in missing)
    checks: deque[tuple[RemoteFile, int, Future[str | None]]] = deque()
    try:
        while queue or checks:
            if queue:
                file, tries = queue.popleft()
                # Reading back what is here may have taken long, and nobody was asked meanwhile.
                patience.progressed()
                line.bring(file, stage.part(file))
                checks.append((file, tries, reader.submit(checker.sha256, file, stage.part(file))))
                if queue and len(checks) == 1 and file.size > RANGE_BYTES:
                    continue
            file, tries, check = checks.popleft()
            if sha256 := check.result():
                stage.keep(file, sha256)
                continue
            stage.part(file).unlink()
            if tries == TRIES:
                raise FetchError(
                    f"{file.name} came from {source.host} {TRIES} times with a wrong checksum: it is damaged there"
                )
            progress.add(-file.size)
            queue.appendleft((file, tries + 1))
    finally:
        # Threads that wait for a silent server must not hold the reason back.
        pool.shutdown(wait=False, cancel_futures=True)
        reader.shutdown(wait=False, cancel_futures=True)
