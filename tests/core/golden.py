"""Everything that the example becomes, as one file: what changes for users shows in its difference.

`python -m tests.core.golden` writes it anew.
"""

from pathlib import Path

import yaml

from gptoss_operator.core.plan import make_plan
from tests.core.builders import NOW, OPTIONS, OWNER, seen


ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/demo.yaml"
GOLDEN = Path(__file__).parent / "golden.yaml"


class _Literal(yaml.SafeDumper):
    """Writes texts of several lines as such, and parts that occur twice twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is the base class's
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Literal.add_representer(str, _text)


def manifests() -> str:
    """Return the manifests of the first pass, in the order in which they are applied."""
    body = yaml.safe_load(EXAMPLE.read_text())
    plan = make_plan(body, seen(), OPTIONS, NOW)
    assert OWNER.name == body["metadata"]["name"]
    documents = [yaml.dump(a.manifest, Dumper=_Literal, sort_keys=False, width=1000) for a in plan.applies]
    return "---\n".join(documents)


if __name__ == "__main__":
    GOLDEN.write_text(manifests())
