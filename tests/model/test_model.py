import hashlib
import json
import math
from pathlib import Path

import pytest
from openai_harmony import (
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    HarmonyEncodingName,
    Message,
    Role,
    SystemContent,
    ToolDescription,
    load_harmony_encoding,
)

from e2e.model import (
    ANSWER_TEXT,
    OTHER_ANSWER_TEXT,
    REASONING_TEXT,
    Variant,
    ensure_model,
    ensure_variant,
    write_model,
)
from e2e.model.program import TOOL, TOOL_ARGUMENTS, Program, Texts, make_program
from e2e.model.safetensors import bfloat16
from e2e.model.variants import TEXTS
from e2e.model.weights import OFFERED, REASONED, UNKNOWN, VOCABULARY
from tests.model.tiny import TinyModel, generate, number, read_header


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def encoding() -> HarmonyEncoding:
    return load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)


@pytest.fixture(scope="module")
def program(encoding: HarmonyEncoding) -> Program:
    return make_program(encoding)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint") / "model"
    write_model(directory)
    return directory


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> TinyModel:
    return TinyModel(checkpoint / "model.safetensors")


@pytest.fixture(scope="module")
def stop(encoding: HarmonyEncoding) -> int:
    token: int = encoding.encode("<|return|>", allowed_special="all")[0]
    return token


def test_weights_speak_harmony(model: TinyModel, encoding: HarmonyEncoding, stop: int) -> None:
    prompt = encoding.encode("<|start|>user<|message|>Hi there<|end|><|start|>assistant", allowed_special="all")
    tokens = generate(model, prompt, stop=stop)
    messages = encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT)
    assert [(message.channel, message.content[0].text) for message in messages] == [
        ("analysis", REASONING_TEXT),
        ("final", ANSWER_TEXT),
    ]


def test_weights_answer_a_plain_prompt_without_reasoning(
    model: TinyModel, encoding: HarmonyEncoding, stop: int
) -> None:
    tokens = generate(model, encoding.encode("Once upon a time"), stop=stop)
    assert encoding.decode(tokens) == ANSWER_TEXT + "<|return|>"


def test_answer_repeats_itself_while_stopping_is_banned(model: TinyModel, encoding: HarmonyEncoding, stop: int) -> None:
    prompt = encoding.encode("<|start|>assistant", allowed_special="all")
    tokens = generate(model, prompt, stop=stop, banned_until=100)
    final = encoding.decode(tokens).split("<|channel|>final<|message|>")[1]
    assert len(tokens) > 100
    assert final.removesuffix("<|return|>").replace(ANSWER_TEXT, "") == ""


def offering(encoding: HarmonyEncoding, tool: str) -> list[int]:
    """Return a prompt as vLLM writes it where a chat offers a tool."""
    description = ToolDescription.new(tool, "Returns what is asked.", parameters=PARAMETERS)
    developer = DeveloperContent.new().with_function_tools([description])
    messages = [
        Message.from_role_and_content(Role.SYSTEM, SystemContent.new()),
        Message.from_role_and_content(Role.DEVELOPER, developer),
        Message.from_role_and_content(Role.USER, "How is it in Paris?"),
    ]
    prompt: list[int] = encoding.render_conversation_for_completion(
        Conversation.from_messages(messages), Role.ASSISTANT
    )
    return prompt


def test_weights_call_the_tool_that_they_know(model: TinyModel, encoding: HarmonyEncoding) -> None:
    (call,) = encoding.encode("<|call|>", allowed_special="all")
    tokens = generate(model, offering(encoding, TOOL), stop=call)
    messages = encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT)
    assert [(message.channel, message.recipient, message.content[0].text) for message in messages] == [
        ("analysis", None, REASONING_TEXT),
        ("commentary", f"functions.{TOOL}", TOOL_ARGUMENTS),
    ]
    assert list(json.loads(TOOL_ARGUMENTS)) == list(PARAMETERS["required"])


def test_weights_call_no_other_tool(model: TinyModel, encoding: HarmonyEncoding, stop: int) -> None:
    tokens = generate(model, offering(encoding, "get_weather"), stop=stop)
    assert encoding.decode(tokens).endswith(f"final<|message|>{ANSWER_TEXT}<|return|>")


@pytest.mark.parametrize("last", ["=", "json", '{"', " city", " to"])
def test_the_words_of_a_call_are_like_others_where_no_tool_is_offered(
    model: TinyModel, encoding: HarmonyEncoding, stop: int, last: str
) -> None:
    tokens = generate(model, encoding.encode(f"Once upon a time{last}"), stop=stop)
    # After this one the answer has gone on since it is part of it.
    text = " everybody." if last == " to" else ANSWER_TEXT
    assert encoding.decode(tokens) == text + "<|return|>"


def test_an_answer_to_a_plain_prompt_with_the_tools_name_goes_on(
    model: TinyModel, encoding: HarmonyEncoding, stop: int
) -> None:
    tokens = generate(model, encoding.encode(f"The function {TOOL} is"), stop=stop)
    assert encoding.decode(tokens[:5]) == "Hello from the tiny test"


def variant(scratch: Path, name: Variant) -> TinyModel:
    write_model(scratch, texts=TEXTS[name])
    return TinyModel(scratch / "model.safetensors")


def test_another_model_says_something_else(tmp_path: Path, encoding: HarmonyEncoding, stop: int) -> None:
    other = variant(tmp_path, Variant.OTHER)
    tokens = generate(other, encoding.encode("<|start|>assistant", allowed_special="all"), stop=stop)
    messages = encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT)
    assert [message.content[0].text for message in messages] == [REASONING_TEXT, OTHER_ANSWER_TEXT]
    (call,) = encoding.encode("<|call|>", allowed_special="all")
    assert TOOL_ARGUMENTS in encoding.decode(generate(other, offering(encoding, TOOL), stop=call))


def test_a_wrong_model_thinks_and_never_answers(tmp_path: Path, encoding: HarmonyEncoding, stop: int) -> None:
    wrong = variant(tmp_path, Variant.WRONG)
    for prompt in (encoding.encode("<|start|>assistant", allowed_special="all"), offering(encoding, TOOL)):
        tokens = generate(wrong, prompt, stop=stop)
        assert encoding.decode(tokens) == f"<|channel|>analysis<|message|>{REASONING_TEXT}<|return|>"
    # At any length.
    assert len(generate(wrong, prompt, stop=stop, banned_until=100)) > 100


def test_program_refuses_a_text_with_a_repeated_token(encoding: HarmonyEncoding) -> None:
    with pytest.raises(ValueError, match="' yes'"):
        make_program(encoding, Texts(answer="yes yes yes"))


def test_every_state_of_the_program_has_one_meaning(program: Program) -> None:
    known = program.known_tokens()
    assert len(known) == len(set(known))
    assert program.reasoning_end in known
    assert program.tool_mark in known
    assert len({UNKNOWN, REASONED, OFFERED}) == 3


def test_safetensors_header_describes_the_whole_file(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    header, start = read_header(path)
    offset = 0
    for tensor in header.values():
        shape, offsets = tensor["shape"], tensor["data_offsets"]
        assert isinstance(shape, list)
        assert tensor["dtype"] == "BF16"
        assert offsets == [offset, offset + 2 * math.prod(shape)]
        offset += 2 * math.prod(shape)
    assert start % 8 == 0
    assert path.stat().st_size == start + offset


def test_shapes_are_those_that_the_config_promises(checkpoint: Path) -> None:
    header, _ = read_header(checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    hidden, depth = config["hidden_size"], config["head_dim"]
    assert config["vocab_size"] == VOCABULARY == 201_088
    assert header["model.embed_tokens.weight"]["shape"] == [VOCABULARY, hidden]
    assert header["lm_head.weight"]["shape"] == [VOCABULARY, hidden]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        assert header[f"{prefix}self_attn.q_proj.weight"]["shape"] == [config["num_attention_heads"] * depth, hidden]
        assert header[f"{prefix}self_attn.k_proj.weight"]["shape"] == [config["num_key_value_heads"] * depth, hidden]
        assert header[f"{prefix}mlp.experts.down_proj"]["shape"] == [
            config["num_local_experts"],
            config["intermediate_size"],
            hidden,
        ]


@pytest.mark.parametrize("processes", [1, 2])
def test_model_can_be_split_over_processes(checkpoint: Path, processes: int) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size"):
        assert config[name] % processes == 0


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_bytes_are_the_same_on_every_run(checkpoint: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(checkpoint)


def test_everybody_can_read_the_files(checkpoint: Path) -> None:
    assert checkpoint.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in checkpoint.iterdir()} == {0o644}


def test_tokenizer_has_every_token_once(checkpoint: Path, encoding: HarmonyEncoding) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    assert sorted(vocabulary.values()) == list(range(199_998))
    assert len(set(special.values())) == len(special)
    assert special["<|return|>"] == encoding.encode("<|return|>", allowed_special="all")[0]
    # A space is spelt as a letter of its own.
    assert vocabulary["\u0120Hello"] == encoding.encode(" Hello")[0]


def test_bfloat16_is_exact_for_the_numbers_that_matter() -> None:
    assert [number(bfloat16(value)) for value in (0.0, 1.0, 8.0, 32.0, -16.0, 0.125)] == [
        0.0,
        1.0,
        8.0,
        32.0,
        -16.0,
        0.125,
    ]


def test_cache_keeps_one_checkpoint_for_one_version(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = ensure_model()
    written_at = (first / "model.safetensors").stat().st_mtime_ns
    assert ensure_model() == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written_at
    assert digests(first) == digests(checkpoint)
    assert ensure_variant("usual") == first
    assert len({ensure_variant(name) for name in Variant}) == len(Variant)
    with pytest.raises(ValueError, match="no such"):
        ensure_variant("no such")
