"""What follows from a spec alone."""

import re

import pytest

from gptoss_operator.api.rules import LONGEST_PATTERN, owned_flag, owned_flag_patterns
from gptoss_operator.api.spec import GptOssSpec, model_names
from gptoss_runtime.orders import OWNED_FLAGS


@pytest.mark.parametrize(
    ("extra_args", "adapters"),
    [
        ([], ()),
        (["--enable-lora", "--lora-modules", "sql=/a", "chat=me/chat=1", "--seed=1", "x=y"], ("sql", "chat")),
        (["--lora_modules=sql=/a", "not=taken"], ("sql",)),
        (['--lora-modules={"name": "sql", "path": "/a", "base_model_name": "x"}'], ("sql",)),
        (["--lora-modules", '{"name":"sql","path":"/a"}', "chat=/b"], ("sql", "chat")),
        (["--lora-modules", "old=/a", "--lora-modules", "new=/b"], ("new",)),
        (["--lora-modules", "{broken", "[1,2]", '{"path":"/a"}', '{"name":1}', ""], ()),
        (["--lora-modules", "[" * 2048], ()),
        (["--lora-modules"], ()),
        (["--lora-modules", "openai/gpt-oss-20b=/same"], ()),
    ],
)
def test_adapters_are_served_beside_the_model(extra_args: list[str], adapters: tuple[str, ...]) -> None:
    spec = GptOssSpec.model_validate({"model": {"name": "gpt-oss-20b"}, "engine": {"extraArgs": extra_args}})
    assert model_names(spec, "chat") == ("openai/gpt-oss-20b", *adapters)


def matching(argument: str) -> int:
    """Return how many of the rules refuse an argument."""
    return sum(re.match(pattern, argument) is not None for pattern in owned_flag_patterns())


@pytest.mark.parametrize("flag", OWNED_FLAGS)
def test_an_owned_argument_is_refused_in_each_plain_spelling_by_one_rule(flag: str) -> None:
    name = flag.removeprefix("--")
    spellings = [flag, f"{flag}=1", f"{flag}.key", f"{flag}.key=1", "--" + name.replace("-", "_"), f"--no-{name}"]
    assert [matching(spelling) for spelling in spellings] == [1] * len(spellings)
    assert {owned_flag(spelling) for spelling in spellings} == {flag}


@pytest.mark.parametrize(
    "argument", ["--model-impl=x", "--enable-lora", "--lora-modules", "port", "--block-size=1", "-1"]
)
def test_other_arguments_are_free(argument: str) -> None:
    assert (matching(argument), owned_flag(argument)) == (0, None)


def test_no_rule_is_above_the_budget_of_the_api_server() -> None:
    # It refused 1212 characters, and took 668; tests/integration applies the schema to a real one.
    assert all(len(pattern) <= LONGEST_PATTERN + len("^--(no-)?()([.=].*)?$") for pattern in owned_flag_patterns())
