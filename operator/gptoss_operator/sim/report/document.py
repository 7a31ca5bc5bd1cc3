"""The JSON of a simulation, and the page that shows it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from xml.sax.saxutils import escape

from gptoss_operator.sim.contract import Result


def document_of(result: Result, *, points: bool = False) -> dict[str, object]:
    """Return one result as JSON has it: all that must be equal from run to run, and `points` if asked for."""
    document = asdict(result)
    del document["decide_seconds"]
    if not points:
        del document["points"]
    return {**document, "attainment": result.attainment, "simulated": True}


def results_json(facts: Mapping[str, object], results: Iterable[Result], *, points: bool = True) -> str:
    """Return what is written as JSON. `facts` say what was simulated."""
    rows = [document_of(result, points=points) for result in results]
    return json.dumps({"simulated": True, **facts, "results": rows}, indent=1) + "\n"


def page(title: str, label: str, texts: Sequence[str], pictures: Sequence[str]) -> str:
    """Return one HTML page with everything in it. `texts` are shown as they are, in a fixed width."""
    blocks = "\n".join(f"<pre>{escape(text)}</pre>" for text in texts)
    shown = "\n".join(f"<figure>{picture}</figure>" for picture in pictures)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        "<style>body{font-family:sans-serif;margin:2em;max-width:1150px}pre{overflow-x:auto}"
        "figure{margin:1em 0}.label{color:#b00020;font-weight:bold}svg{max-width:100%;height:auto}</style></head>\n"
        f'<body><h1>{escape(title)}</h1><p class="label">{escape(label)}</p>\n{blocks}\n{shown}\n</body></html>\n'
    )
