"""Runs inside the room: what vLLM's own parser makes of command lines.

Reads a JSON list of command lines from standard input and prints a JSON object: `flags`, all that it knows;
`load_formats`, which it checks late; and `parsed`, for each command line `{"values": {...}, "error": "..."}`. Values
are null when the parser refuses; the error may also be what came of making vLLM's whole configuration of the values.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import sys
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.model_executor.model_loader import _LOAD_FORMAT_TO_MODEL_LOADER
from vllm.utils.argparse_utils import FlexibleArgumentParser


def main() -> None:
    """Parse what comes."""
    parser: argparse.ArgumentParser = make_arg_parser(FlexibleArgumentParser())
    flags = sorted({flag for action in parser._actions for flag in action.option_strings})  # noqa: SLF001 - no other way
    parsed = [attempt(parser, arguments) for arguments in json.load(sys.stdin)]
    document = {"flags": flags, "load_formats": sorted(_LOAD_FORMAT_TO_MODEL_LOADER), "parsed": parsed}
    # vLLM writes its log to standard output too; the document is the last line.
    sys.stdout.write("\n" + json.dumps(document, default=plain) + "\n")


def attempt(parser: argparse.ArgumentParser, arguments: list[str]) -> dict[str, Any]:
    """Return what comes of one command line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            namespace = parser.parse_args(arguments)
    except SystemExit:
        return {"values": None, "error": said.getvalue().strip().splitlines()[-1]}
    # As `vllm serve` does before it goes on.
    namespace.model = namespace.model_tag or namespace.model
    values, error = dict(vars(namespace)), ""
    try:
        validate_parsed_serve_args(namespace)
        AsyncEngineArgs.from_cli_args(namespace).create_engine_config()
    except Exception as raised:  # noqa: BLE001 - whatever vLLM raises is the answer
        error = str(raised) or repr(raised)
    return {"values": values, "error": error}


def plain(value: object) -> object:
    """Return what JSON can say of `value`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


if __name__ == "__main__":
    main()
