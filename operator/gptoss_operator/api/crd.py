"""The CustomResourceDefinition, made from the pydantic models.

Kubernetes wants a structural schema: no references, no `null` alternatives, no closed objects (it prunes unknown
fields itself), and validation rules beside the object they are about.
"""

from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from gptoss_operator.api.names import GROUP, KIND, NAME_MAX_LENGTH, PLURAL, SHORT_NAME, VERSION
from gptoss_operator.api.rules import Rule
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.api.status import GptOssStatus


Schema = dict[str, Any]

NAME_RULES = (
    Rule(
        f"self.metadata.name.size() <= {NAME_MAX_LENGTH}",
        f"metadata.name may have at most {NAME_MAX_LENGTH} characters, since pods and Services are named after it",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must begin with a letter and have only lower-case letters, digits and '-': a Service has it too",
    ),
)

PRINTER_COLUMNS = (
    {"name": "Ready", "type": "string", "jsonPath": ".status.ready", "description": "Ready and desired replicas."},
    {"name": "Status", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Available")].reason'},
    {"name": "Model", "type": "string", "jsonPath": ".status.servedModel"},
    {"name": "TP", "type": "integer", "jsonPath": ".spec.tensorParallel", "description": "GPUs for each replica."},
    {"name": "URL", "type": "string", "jsonPath": ".status.url"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Revision", "type": "string", "jsonPath": ".status.revision", "priority": 1},
    {"name": "Image", "type": "string", "jsonPath": ".status.image", "priority": 1},
    {
        "name": "Spot",
        "type": "integer",
        "jsonPath": ".status.spot.ready",
        "description": "Ready replicas on spot machines.",
        "priority": 1,
    },
    {
        "name": "Hourly",
        "type": "string",
        "jsonPath": ".status.cost.hourly",
        "description": "Dollars per hour.",
        "priority": 1,
    },
)

KEPT = frozenset(
    {
        "type",
        "description",
        "enum",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
    }
)
"""Keywords that JSON schema and Kubernetes share and that are copied as they are."""


def crd() -> Schema:
    """Return the CustomResourceDefinition."""
    root: Schema = {
        "type": "object",
        "description": "A gpt-oss model served by replicas on GPUs, behind one OpenAI-compatible endpoint.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"type": "object"},
            "spec": schema_of(GptOssSpec, with_defaults=True),
            "status": schema_of(GptOssStatus, with_defaults=False),
        },
        "x-kubernetes-validations": [_validation(rule) for rule in NAME_RULES],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["all", "ai"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": root},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [dict(column) for column in PRINTER_COLUMNS],
                }
            ],
        },
    }


def schema_of(model: type[BaseModel], *, with_defaults: bool) -> Schema:
    """Return the structural schema of `model`.

    Raises ValueError where a field has no description, or two models have one name: rules are found by it.
    """
    raw = model.model_json_schema(by_alias=True)
    models = {m.__name__: m for m in _models_of(model)}
    if twice := {m.__name__ for m in _models_of(model) if models[m.__name__] is not m}:
        raise ValueError(f"two models are called {', '.join(sorted(twice))}")
    rules = {name: _rules(m) for name, m in models.items()}
    schema = _structural(raw, raw.get("$defs", {}), rules, with_defaults=with_defaults)
    schema.pop("default", None)
    return _with_rules(schema, rules[model.__name__])


def _structural(
    node: Schema, defs: dict[str, Schema], rules: dict[str, list[Schema]], *, with_defaults: bool
) -> Schema:
    """Return `node` with references put in place and everything that Kubernetes refuses left out."""
    node, model = _resolve(node, defs)
    out = {key: value for key, value in node.items() if key in KEPT or key.startswith("x-kubernetes-")}
    if "default" in node and with_defaults and node["default"] not in (None, "", [], {}):
        # An object's default is empty: its own fields bring theirs.
        out["default"] = {} if node.get("type") == "object" else node["default"]
    if "properties" in node:
        out["properties"] = {}
        for name, prop in node["properties"].items():
            out["properties"][name] = _structural(prop, defs, rules, with_defaults=with_defaults)
            if "description" not in out["properties"][name]:
                raise ValueError(f"{node.get('title', 'object')}.{name} has no description")
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _structural(
            node["additionalProperties"], defs, rules, with_defaults=with_defaults
        )
    if "items" in node:
        out["items"] = _structural(node["items"], defs, rules, with_defaults=with_defaults)
    return _with_rules(out, rules.get(model, []))


def _resolve(node: Schema, defs: dict[str, Schema]) -> tuple[Schema, str]:
    """Return `node` with its reference or its only alternative beside null put in place, and the model's name."""
    own = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "title")}
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        return {**defs[name], **own}, name
    if "anyOf" in node:
        (only,) = (choice for choice in node["anyOf"] if choice.get("type") != "null")
        target, name = _resolve(only, defs)
        return {**target, **own}, name
    return node, ""


def _with_rules(schema: Schema, rules: list[Schema]) -> Schema:
    return {**schema, "x-kubernetes-validations": rules} if rules else schema


def _rules(model: type[BaseModel]) -> list[Schema]:
    return [_validation(rule) for rule in getattr(model, "rules", ())]


def _validation(rule: Rule) -> Schema:
    where = {"fieldPath": f".{rule.field}"} if rule.field else {}
    return {"rule": rule.expression, "message": rule.message, **where}


def _models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield `model` and every model that its fields lead to."""
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _models_of(part)


def _parts(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - an annotation may be any object
    if get_origin(annotation) in (tuple, list, dict, Union, UnionType):
        for argument in get_args(annotation):
            yield from _parts(argument)
    elif not (isinstance(annotation, type) and issubclass(annotation, Enum)):
        yield annotation
