"""The JSON that every benchmark writes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from e2e.bench.bars import Bar
from e2e.bench.machine import describe_machine
from e2e.bench.rows import Row


def write_result(
    path: Path,
    bench: str,
    *,
    versions: Mapping[str, str],
    facts: Mapping[str, str],
    bars: Iterable[Bar],
    rows: Sequence[Row],
) -> None:
    """Write everything that was measured. `facts` say what was simulated."""
    document = {
        "bench": bench,
        "versions": dict(versions),
        "machine": describe_machine(),
        "seeds": [],  # nothing is drawn by chance
        **facts,
        "bars": [bar.document() for bar in bars],
        "rounds": [row.document() for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
