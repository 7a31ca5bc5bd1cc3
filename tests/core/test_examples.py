"""What the documentation shows is what the operator understands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gptoss_operator.api.names import KIND
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.parse import parse_spec
from gptoss_operator.core.plan import make_plan
from tests.core.builders import NOW, OPTIONS, a_body, seen
from tests.core.golden import ROOT


DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def specs_in(text: str) -> Iterator[dict[str, Any]]:
    """Yield the GptOssDeployments, and the parts of one that begin with `spec:`, of a page."""
    for block in re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        document = next(yaml.safe_load_all(block))
        if isinstance(document, dict) and (document.get("kind") == KIND or set(document) == {"spec"}):
            yield document["spec"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_show_what_is_understood(path: Path) -> None:
    for spec in specs_in(path.read_text()):
        whole = {"model": {"name": "gpt-oss-20b"}, **spec}
        assert isinstance(parse_spec({"spec": whole}), GptOssSpec)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_accepted(path: Path) -> None:
    body = a_body() | {"spec": yaml.safe_load(path.read_text())["spec"]}
    status = make_plan(body, seen(), OPTIONS, NOW).status
    assert status is not None
    accepted = status.conditions[0]
    assert (accepted.type, accepted.status) == ("Accepted", "True"), accepted.message


def test_pages_do_show_some() -> None:
    assert sum(len(list(specs_in(path.read_text()))) for path in DOCUMENTS) > 5
