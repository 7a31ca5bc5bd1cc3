"""How vLLM 0.32 divides the memory for keys and values, in its own arithmetic, so that the numbers are its own.

vLLM keeps one pool of blocks. A block holds some tokens of one group of layers, and a request takes blocks of each
group: for all of its tokens where layers look at everything, for a window where they do not
(`vllm/v1/core/kv_cache_utils.py`, `vllm/v1/kv_cache_interface.py`).
"""

from dataclasses import dataclass
from typing import Final

from gptoss_runtime.model.catalog import BF16_BYTES, ModelShape
from gptoss_runtime.model.stages import stages_of


PADDING_LIMIT: Final = 1.5
"""Kinds of layers whose numbers differ by less than this factor form groups of the larger number."""
FP8_BYTES: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLayout:
    """The pool's blocks on the GPU that is the first to run out, and what a request takes of them."""

    bytes_per_block: tuple[int, ...]
    """Bytes of one block on one GPU of each pipeline stage."""
    block_tokens: int
    full_groups: int
    """Groups of layers that look at all tokens."""
    sliding_groups: int
    window: int
    """Tokens that layers of the sliding groups look back; 0 where there are none."""
    in_flight_tokens: int
    """Tokens that may be scheduled and not yet settled, which vLLM keeps room for beside the window."""

    def blocks(self, kv_bytes: tuple[int, ...]) -> int:
        """Return the blocks of the pool, from the memory on a GPU of each stage; the smallest pool decides."""
        stages = zip(kv_bytes, self.bytes_per_block, strict=True)
        # A stage without layers, of a model that has fewer than there are stages, takes nothing.
        return max(0, min(free // size for free, size in stages if size))

    def blocks_of_request(self, tokens: int) -> int:
        """Return the blocks that vLLM keeps free for a request of this length."""
        return self._blocks(tokens, beside_window=self.in_flight_tokens)

    def blocks_of_sequence(self, tokens: int) -> int:
        """Return the blocks that a request of this length holds while it is being answered, one token a step."""
        return self._blocks(tokens, beside_window=1)

    def _blocks(self, tokens: int, *, beside_window: int) -> int:
        full = _ceil(tokens, self.block_tokens)
        # The window need not begin where a block does, so it may lie in one more.
        sliding = _ceil(min(self.window - 1 + beside_window, tokens), self.block_tokens) + 1
        return self.full_groups * full + self.sliding_groups * sliding


def kv_layout(
    shape: ModelShape,
    *,
    tensor_parallel: int,
    pipeline_parallel: int,
    block_tokens: int,
    in_flight_tokens: int,
    fp8: bool,
    draft_layers: int = 0,
) -> KvLayout:
    """Return how the pool is laid out. `draft_layers` are those of a draft model, taken to be like the model's own."""
    heads = max(1, shape.kv_heads // tensor_parallel)
    page = 2 * heads * shape.head_dim * (FP8_BYTES if fp8 else BF16_BYTES) * block_tokens
    groups = _groups(shape, draft_layers)
    last = pipeline_parallel - 1
    per_stage = []
    for number, stage in enumerate(stages_of(shape.layers, pipeline_parallel)):
        own = set(stage) | ({shape.layers + draft for draft in range(draft_layers)} if number == last else set())
        per_stage.append(page * max(len(own.intersection(layers)) for layers, _ in groups))
    return KvLayout(
        bytes_per_block=tuple(per_stage),
        block_tokens=block_tokens,
        full_groups=sum(not slides for _, slides in groups),
        sliding_groups=sum(slides for _, slides in groups),
        window=shape.sliding_window or 0,
        in_flight_tokens=in_flight_tokens,
    )


def _groups(shape: ModelShape, draft_layers: int) -> list[tuple[list[int], bool]]:
    """Return the numbers of the layers in each group, and whether they slide. Draft layers come last and do not."""
    slides = [shape.sliding_window is not None and number % 2 == 0 for number in range(shape.layers)]
    kinds = {
        False: [*(n for n, s in enumerate(slides) if not s), *range(shape.layers, shape.layers + draft_layers)],
        True: [n for n, s in enumerate(slides) if s],
    }
    kinds = {slide: layers for slide, layers in kinds.items() if layers}
    fewest, most = min(map(len, kinds.values())), max(map(len, kinds.values()))
    size = most if most < fewest * PADDING_LIMIT else fewest
    return [
        (layers[part :: _ceil(len(layers), size)], slide)
        for slide, layers in kinds.items()
        for part in range(_ceil(len(layers), size))
    ]


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
