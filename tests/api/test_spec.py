"""What follows from a spec alone."""

import pytest

from gptoss_operator.api.spec import GptOssSpec, model_names


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
