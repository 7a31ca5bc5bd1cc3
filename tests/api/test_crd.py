"""The schema: in step with the models, small enough, described everywhere, its rules about fields that exist."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field, create_model

from gptoss_operator.api.base import ApiModel
from gptoss_operator.api.crd import crd, schema_of
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.cli.crds import TARGETS, text


ROOT = Path(__file__).parents[2]
MAX_BYTES = 256 * 1024

INT_OR_STRING = "x-kubernetes-int-or-string"


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, prop in schema.get("properties", {}).items():
        yield from nodes(prop, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def version() -> dict[str, Any]:
    (only,) = crd()["spec"]["versions"]
    result: dict[str, Any] = only
    return result


def root() -> dict[str, Any]:
    schema: dict[str, Any] = version()["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("target", TARGETS)
def test_files_are_in_step_with_the_models(target: str) -> None:
    assert (ROOT / target).read_text() == text(), "run `make crds`"


def test_it_is_small_enough_for_client_side_apply() -> None:
    assert len(yaml.safe_dump(crd()).encode()) < MAX_BYTES


def test_every_field_has_a_type_and_a_description() -> None:
    bare = [path for path, node in nodes(root()) if "type" not in node and INT_OR_STRING not in node]
    assert bare == []
    undescribed = [
        path
        for path, node in nodes(root())
        if "description" not in node and not path.endswith("[]") and path not in ("", ".metadata")
    ]
    assert undescribed == []


def test_every_rule_names_a_field_that_exists() -> None:
    rules = [(path, node, rule) for path, node in nodes(root()) for rule in node.get("x-kubernetes-validations", [])]
    assert len(rules) >= 8
    for path, node, rule in rules:
        if "fieldPath" in rule:
            assert rule["fieldPath"].removeprefix(".") in node["properties"], (path, rule)


def test_two_models_of_one_name_are_refused_since_rules_are_found_by_it() -> None:
    inner = create_model("Twice", __base__=ApiModel, inner=(int, Field(description="a number")))
    outer = create_model("Twice", __base__=ApiModel, outer=(inner, Field(description="the other")))
    with pytest.raises(ValueError, match="two models are called Twice"):
        schema_of(outer, with_defaults=True)


def test_lists_and_maps_are_bounded() -> None:
    spec = root()["properties"]["spec"]
    unbounded = [
        path
        for path, node in nodes(spec)
        if (node.get("type") == "array" and "maxItems" not in node)
        or ("additionalProperties" in node and "maxProperties" not in node)
    ]
    assert unbounded == []


def test_replicas_has_no_default_and_defaults_are_the_models() -> None:
    spec = root()["properties"]["spec"]["properties"]
    assert "default" not in spec["replicas"]
    assert "default" not in spec["scaling"]
    assert spec["tensorParallel"] == {
        "description": spec["tensorParallel"]["description"],
        INT_OR_STRING: True,
        "default": "auto",
    }
    assert spec["drainSeconds"]["default"] == GptOssSpec.model_fields["drain_seconds"].default


def test_scale_and_status_are_subresources() -> None:
    assert version()["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
    assert "status" in version()["subresources"]
