"""Everything that the example becomes, and replicas on spot machines: what changes for users shows in the difference.

`python -m tests.core.golden` writes both files anew.
"""

from collections.abc import Iterable
from pathlib import Path

import yaml

from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.plan import make_plan
from tests.core.builders import NOW, OPTIONS, OWNER, seen


ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/demo.yaml"
GOLDEN = Path(__file__).parent / "golden.yaml"
GOLDEN_SPOT = Path(__file__).parent / "golden_spot.yaml"


class _Literal(yaml.SafeDumper):
    """Writes texts of several lines as such, and parts that occur twice twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is the base class's
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Literal.add_representer(str, _text)


def manifests() -> str:
    """Return the manifests of the first pass, in the order in which they are applied.

    But for the record of the revision, which has the replicas' template once more.
    """
    body = yaml.safe_load(EXAMPLE.read_text())
    plan = make_plan(body, seen(), OPTIONS, NOW)
    assert OWNER.name == body["metadata"]["name"]
    return _shown(a.manifest for a in plan.applies if a.key.kind != "ControllerRevision")


def spot_manifests() -> str:
    """Return the replicas of the example, one of them on an on-demand and one on a spot machine of a zone."""
    body = yaml.safe_load(EXAMPLE.read_text())
    body["spec"]["spot"] = {"enabled": True, "zones": ["us-east-1b"], "maxExtra": 0}
    plan = make_plan(body, seen(), OPTIONS, NOW)
    return _shown(a.manifest for a in plan.applies if a.key.kind == "StatefulSet")


def _shown(found: Iterable[Manifest]) -> str:
    return "---\n".join(yaml.dump(m, Dumper=_Literal, sort_keys=False, width=1000) for m in found)


if __name__ == "__main__":
    GOLDEN.write_text(manifests())
    GOLDEN_SPOT.write_text(spot_manifests())
