"""Golden prompts: what is asked, and whether the answer is right. Pure.

Unlike the probe, whose answer is compared with that of the start, they have answers that are known before: weights, a
vLLM or options that are wrong from the beginning show in them. They are asked at temperature 0.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from gptoss_runtime.orders import GoldenOrder, ServerOrders
from gptoss_runtime.server.golden import BuiltIn, WrongAnswerError


Check = Callable[[Mapping[str, Any]], None]
"""Takes the body of an answer. Raises WrongAnswerError, whose words go on after the prompt's name."""

BUILT_IN_TOKENS = 512
"""Length of an answer to a prompt of the server's own, reasoning included. Some hundred are used."""
TOOL, TOOL_ARGUMENT = "get_temperature", "city"
"""What is offered in the prompt `ToolCall`. The tests' model knows it too."""

_MAX_CHARACTERS = 120
_FENCED = re.compile(r"\s*```[a-z]*[ \t]*\n(.*)```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt."""

    name: str
    request: Mapping[str, Any]
    """The body of a request to `/v1/chat/completions`."""
    check: Check


def make_questions(orders: ServerOrders) -> tuple[Question, ...]:
    """Return the prompts of the orders, those of the server's own first."""
    model = orders.served_names[0]
    return (
        *(_BUILT_IN[BuiltIn(name)](model) for name in orders.built_in_prompts),
        *(_ordered(order, model) for order in orders.golden_prompts),
    )


def check_harmony(document: Mapping[str, Any]) -> None:
    """Raise WrongAnswerError unless the answer has reasoning and content, each in its place."""
    message = _message(document)
    if not _words(message.get("reasoning")) and not _words(message.get("reasoning_content")):
        raise WrongAnswerError("has no reasoning")
    if not _words(message.get("content")):
        raise WrongAnswerError("has no content after its reasoning")


def check_tool_call(document: Mapping[str, Any]) -> None:
    """Raise WrongAnswerError unless the answer calls the tool that was offered, with arguments that it can read."""
    calls = _message(document).get("tool_calls")
    if not isinstance(calls, list) or not calls:
        raise WrongAnswerError("calls no tool")
    function = calls[0].get("function") if isinstance(calls[0], dict) else None
    if not isinstance(function, dict) or function.get("name") != TOOL:
        raise WrongAnswerError("calls a tool that was not offered")
    try:
        arguments = _parsed(str(function.get("arguments")))
    except ValueError as error:
        raise WrongAnswerError("calls the tool with arguments that are not JSON") from error
    if not isinstance(arguments, dict) or TOOL_ARGUMENT not in arguments:
        raise WrongAnswerError(f"calls the tool without its argument {TOOL_ARGUMENT}")


def check_order(order: GoldenOrder, document: Mapping[str, Any]) -> None:
    """Raise WrongAnswerError unless the answer is as the order has it, or when its schema is at fault."""
    content = _words(_message(document).get("content"))
    if not content:
        raise WrongAnswerError("has no content")
    folded = content.casefold()
    if missing := [text for text in order.contains if text.casefold() not in folded]:
        raise WrongAnswerError(f"does not contain {_short(json.dumps(missing[0], ensure_ascii=False))}")
    if order.json_schema:
        _check_schema(order.json_schema, content)


def _harmony(model: str) -> Question:
    request = _request(model, "What is 17 times 23? Think it through, then answer with the number.", BUILT_IN_TOKENS)
    return Question(name=BuiltIn.HARMONY, request=request, check=check_harmony)


def _tool_call(model: str) -> Question:
    argument = {"type": "string", "description": "The city's name."}
    function = {
        "name": TOOL,
        "description": "Returns the temperature in a city at this moment.",
        "parameters": {"type": "object", "properties": {TOOL_ARGUMENT: argument}, "required": [TOOL_ARGUMENT]},
    }
    request = {
        **_request(model, "What is the temperature in Paris at this moment? Use the tool.", BUILT_IN_TOKENS),
        "tools": [{"type": "function", "function": function}],
    }
    return Question(name=BuiltIn.TOOL_CALL, request=request, check=check_tool_call)


_BUILT_IN = MappingProxyType({BuiltIn.HARMONY: _harmony, BuiltIn.TOOL_CALL: _tool_call})
"""Each is made for the name that the model is served under."""


def _ordered(order: GoldenOrder, model: str) -> Question:
    return Question(
        name=order.name,
        request=_request(model, order.prompt, order.max_tokens),
        check=lambda document: check_order(order, document),
    )


def _request(model: str, prompt: str, max_tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }


def _message(document: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        message = document["choices"][0]["message"]
    except (KeyError, IndexError, TypeError) as error:
        raise WrongAnswerError("has no message") from error
    if not isinstance(message, dict):
        raise WrongAnswerError("has no message")
    return message


def _words(text: object) -> str:
    return text.strip() if isinstance(text, str) else ""


def _check_schema(schema: str, content: str) -> None:
    try:
        answer = _parsed(_unfenced(content))
    except ValueError as error:
        raise WrongAnswerError("is not JSON") from error
    try:
        wrong: ValidationError | None = best_match(_validator(schema).iter_errors(answer))
    # What a schema that makes no sense raises depends on where it makes none.
    except (ValueError, SchemaError, Unresolvable, RecursionError, re.error, TypeError) as error:
        words = error.message if isinstance(error, SchemaError) else str(error)
        raise WrongAnswerError(f"cannot be checked, since the prompt's own schema is bad: {_short(words)}") from error
    if wrong is not None:
        raise WrongAnswerError(f"does not satisfy the schema: {_where(wrong)}")


def _validator(schema: str) -> Validator:
    """Return what checks answers. Raises ValueError where the text is not JSON, SchemaError where it is no schema."""
    document = json.loads(schema)
    kind = validator_for(document, default=Draft202012Validator)
    kind.check_schema(document)
    # A registry of its own: a reference to elsewhere is never fetched.
    return kind(document, registry=Registry())


def _where(error: ValidationError) -> str:
    """Return which rule is broken, and where; not by what, since the answer may have any length."""
    return f"{error.validator} at {_short(error.json_path)}"


def _unfenced(content: str) -> str:
    """Return what is between fences of Markdown, which models put around JSON; all of it where there are none."""
    match = _FENCED.fullmatch(content)
    return match[1] if match else content


def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON
    """Return what the JSON text says. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("too deep") from error


def _refuse(constant: str) -> None:
    """Refuse NaN and infinities, which Python would read and JSON does not have."""
    raise ValueError(constant)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MAX_CHARACTERS else f"{words[:_MAX_CHARACTERS]}…"
