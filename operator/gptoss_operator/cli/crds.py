"""Write the CustomResourceDefinition to where people and the chart take it from: `make crds`."""

import json
from pathlib import Path

import yaml

from gptoss_operator.api.crd import crd


TARGETS = ("crds/gptossdeployments.gptoss.dev.yaml", "helm/gptoss-operator/files/gptossdeployments.gptoss.dev.yaml")
"""Paths in the repository. A test compares them with the models."""

HEADER = "# Generated from the pydantic models in operator/gptoss_operator/api by `make crds`. Do not edit.\n"


def text() -> str:
    """Return the file's content."""
    # Through JSON, so that parts which two fields share are written out twice and not as YAML anchors.
    return HEADER + yaml.safe_dump(json.loads(json.dumps(crd())), sort_keys=False, width=120)


def main() -> None:
    """Write every target below the current directory, which must be the repository's root."""
    for target in TARGETS:
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text())


if __name__ == "__main__":
    main()
