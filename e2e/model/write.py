"""Writing the checkpoint: the same bytes on every run and every machine."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openai_harmony import HarmonyEncodingName, load_harmony_encoding

from e2e.model.config import generation_config, model_config
from e2e.model.program import USUAL, Texts, make_program
from e2e.model.safetensors import write_safetensors
from e2e.model.tokenizer import CHAT_TEMPLATE, tokenizer_config, tokenizer_json
from e2e.model.weights import Size, make_weights


FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
"""Readable for every user, since pods run as one that owns nothing."""


def write_model(directory: Path, size: Size | None = None, texts: Texts = USUAL) -> None:
    """Write the checkpoint that says `texts` into `directory`, 54 MB, and replace an older one there."""
    size = Size() if size is None else size
    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(DIRECTORY_MODE)
    write_safetensors(directory / "model.safetensors", make_weights(make_program(encoding, texts), size))
    _write_json(directory / "config.json", model_config(size))
    _write_json(directory / "generation_config.json", generation_config())
    _write_json(directory / "tokenizer.json", tokenizer_json(encoding))
    _write_json(directory / "tokenizer_config.json", tokenizer_config())
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    for path in directory.iterdir():
        path.chmod(FILE_MODE)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
