"""What a replica's orders mean for its memory. Pure."""

from collections.abc import Sequence
from typing import Final

from gptoss_runtime.model.memory import Wish
from gptoss_runtime.orders import ServerOrders


_BLOCK_SIZE: Final = "--block-size"


def wish_of(orders: ServerOrders) -> Wish:
    """Return what the planner needs of `orders`."""
    return Wish(
        tensor_parallel=orders.tensor_parallel_size,
        max_model_len=orders.max_model_len,
        max_num_seqs=orders.max_num_seqs,
        gpu_memory_utilization=orders.gpu_memory_utilization,
        block_tokens=_block_tokens(orders.extra_args),
        engine=orders.engine,
    )


def _block_tokens(arguments: Sequence[str]) -> int | None:
    """Return the value of --block-size among further arguments; the last one counts."""
    found = None
    for argument, after in zip(arguments, (*arguments[1:], ""), strict=False):
        name, has_value, value = argument.partition("=")
        text = value if has_value else after
        if name == _BLOCK_SIZE and text.isdecimal():
            found = int(text)
    return found
