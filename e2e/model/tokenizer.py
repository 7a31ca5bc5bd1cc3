"""gpt-oss' vocabulary as a Hugging Face tokenizer, with every token under its real number.

It has no merge rules: a text is split into words, a word that is a token becomes that token, any other word becomes
bytes. So it decodes everything, and encodes to more tokens than the real one would. Harmony conversations are encoded
by the harmony library, which has the rules.
"""

from typing import Any

from openai_harmony import HarmonyEncoding


ORDINARY_TOKENS = 199_998
"""Tokens below this number stand for bytes, those from it on for harmony's special marks."""

_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE_WORD = r"[^\r\n\p{L}\p{N}]?"
SPLIT_PATTERN = "|".join(
    (
        f"{_BEFORE_WORD}{_UPPER}*{_LOWER}+{_CASE}",
        f"{_BEFORE_WORD}{_UPPER}+{_LOWER}*{_CASE}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
"""How the o200k vocabulary splits a text into words."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}<|message|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


def byte_letters() -> list[str]:
    """Return a printable letter for each byte, as byte-level tokenizers spell tokens since GPT-2."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, others = [], 0
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(256 + others))
            others += 1
    return letters


def tokenizer_json(encoding: HarmonyEncoding) -> dict[str, Any]:
    """Return the content of `tokenizer.json`."""
    letters = byte_letters()
    # The public `decode` replaces what is not UTF-8 by itself, and many tokens are not.
    decode_bytes = encoding._inner.decode_bytes  # noqa: SLF001
    vocabulary = {
        "".join(letters[byte] for byte in bytes(decode_bytes([token]))): token for token in range(ORDINARY_TOKENS)
    }
    special = {name: encoding.encode(name, allowed_special="all")[0] for name in encoding.special_tokens_set}
    byte_level = {"type": "ByteLevel", "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name, token in sorted(special.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": SPLIT_PATTERN}, "behavior": "Isolated", "invert": False},
                byte_level | {"add_prefix_space": False, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": vocabulary,
            "merges": [],
        },
    }


def tokenizer_config() -> dict[str, Any]:
    """Return the content of `tokenizer_config.json`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|return|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131_072,
        "clean_up_tokenization_spaces": False,
    }
