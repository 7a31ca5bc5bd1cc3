"""Runs inside the room: what vLLM makes of its memory, for several command lines in one process.

Reads a JSON list of command lines of `vllm serve` from standard input, starts an engine for each, and prints a JSON
list of the room for keys and values as vLLM logs it: `{"blocks", "tokens", "concurrency"}`.
"""

import json
import sys

from vllm.distributed import cleanup_dist_env_and_memory
from vllm.engine.arg_utils import EngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.llm_engine import LLMEngine


def main() -> None:
    """Start an engine for each command line."""
    made = [made_of(arguments) for arguments in json.load(sys.stdin)]
    # vLLM writes its log to standard output too; the document is the last line.
    sys.stdout.write("\n" + json.dumps(made) + "\n")


def made_of(arguments: list[str]) -> dict[str, float]:
    """Return the room for keys and values of an engine that is started so."""
    namespace = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    namespace.model = namespace.model_tag
    # The first engine leaves variables behind that vLLM's own check would find at the second.
    namespace.fail_on_environ_validation = False
    # vLLM's defaults are others where it serves than where it is a library.
    engine = LLMEngine.from_engine_args(
        EngineArgs.from_cli_args(namespace), usage_context=UsageContext.OPENAI_API_SERVER
    )
    cache = engine.vllm_config.cache_config
    made = {
        "blocks": cache.num_gpu_blocks,
        "tokens": cache.kv_cache_size_tokens,
        "concurrency": cache.kv_cache_max_concurrency,
    }
    del engine
    cleanup_dist_env_and_memory()
    return made


if __name__ == "__main__":
    main()
