"""The program as weights of a gpt-oss transformer.

The hidden state says which token was seen last: one dimension for each token that the program knows, one for all
others. The output head maps it to the successor. Two more dimensions say "the reasoning is over" and "the tool is
offered"; attention sets them, since they are about earlier tokens. The experts add nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from e2e.model.program import Program
from e2e.model.safetensors import Tensor


VOCABULARY = 201_088
"""gpt-oss' own; the number of rows of the embedding."""

UNKNOWN = 0
"""Dimension of "a token that the program does not know"."""
REASONED = 1
"""Dimension of "the reasoning is over"."""
OFFERED = 2
"""Dimension of "the tool is offered"."""
FIRST_STATE = 3

SIGNAL = 8.0
"""Strength of a dimension that is on."""
CHOICE = 48.0
"""Weight of a successor. Logits differ by 40 or more then, so sampling cannot choose another token."""
SECOND_CHOICE = 0.75 * CHOICE
"""Of what follows where the first choice is banned."""
WHILE_REASONING, ANSWERING, CALLING = 1.25 * CHOICE, 0.75 * CHOICE, 0.5 * CHOICE
"""Of a fork's three successors."""
REASONED_OUT, OFFERED_OUT = CHOICE, 0.5 * CHOICE
"""What the first two lose when they are out. Never more than leaves a choice elsewhere, where a token has the same
successor whatever the prompt offers."""
QUERY = 16.0
SINK = 20.0
"""Attention's score for "none of the tokens". It outweighs a hundred thousand tokens that score 0."""
MARK = 40.0
"""Attention's score for the token that turns a dimension on, before the position encoding's factor of 1.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Dimensions of the model. Heads and key-value heads divide by two, so that it can be split over two processes.

    There is a group of heads for each dimension that attention sets: as many as key-value heads.
    """

    hidden: int = 64
    intermediate: int = 64
    layers: int = 2
    experts: int = 4
    heads: int = 8
    key_value_heads: int = 2
    head_dimension: int = 32


def make_weights(program: Program, size: Size) -> dict[str, Tensor]:
    """Return all tensors of the checkpoint under the names that gpt-oss has for them.

    Raises `ValueError` when the program knows more tokens than the hidden state has dimensions for.
    """
    state = {token: FIRST_STATE + place for place, token in enumerate(program.known_tokens())}
    if FIRST_STATE + len(state) > size.hidden:
        raise ValueError(f"{len(state)} states do not fit into {size.hidden} hidden dimensions")
    weights = {
        "model.embed_tokens.weight": _embedding(state, size),
        "lm_head.weight": _head(program, state, size),
        "model.norm.weight": Tensor((size.hidden,), fill=1.0),
    }
    for layer in range(size.layers):
        # The last one attends to the whole text, gpt-oss' other layers only to a window.
        last = layer == size.layers - 1
        marks = {REASONED: state[program.reasoning_end], OFFERED: state[program.tool_mark]} if last else {}
        prefix = f"model.layers.{layer}."
        weights |= {prefix + name: tensor for name, tensor in _attention(size, marks).items()}
        weights |= {prefix + name: tensor for name, tensor in _experts(size).items()}
    return weights


def _embedding(state: dict[int, int], size: Size) -> Tensor:
    unknown = [SIGNAL if dimension == UNKNOWN else 0.0 for dimension in range(size.hidden)]
    embedding = Tensor.of_equal_rows(VOCABULARY, unknown)
    for token, dimension in state.items():
        embedding.put((token, UNKNOWN), 0.0)
        embedding.put((token, dimension), SIGNAL)
    return embedding


def _head(program: Program, state: dict[int, int], size: Size) -> Tensor:
    head = Tensor((VOCABULARY, size.hidden))
    head.put((program.otherwise, UNKNOWN), CHOICE)
    for token, following in program.next.items():
        head.put((following, state[token]), CHOICE)
    for token, following in program.next_when_stop_is_banned.items():
        head.put((following, state[token]), SECOND_CHOICE)
    for token, fork in program.forks.items():
        # Each leads the next one by a quarter of a choice at least, unless it is out.
        if fork.while_reasoning is not None:
            head.put((fork.while_reasoning, state[token]), WHILE_REASONING)
            head.put((fork.while_reasoning, REASONED), -REASONED_OUT)
        head.put((fork.answering, state[token]), ANSWERING)
        head.put((fork.answering, OFFERED), -OFFERED_OUT)
        head.put((fork.calling, state[token]), CALLING)
    return head


def _attention(size: Size, marks: Mapping[int, int]) -> dict[str, Tensor]:
    """Return an attention block that turns each dimension in `marks` on once the state that it names has occurred."""
    heads, groups, depth = size.heads, size.key_value_heads, size.head_dimension
    query, query_bias = Tensor((heads * depth, size.hidden)), Tensor((heads * depth,))
    key, key_bias = Tensor((groups * depth, size.hidden)), Tensor((groups * depth,))
    value, value_bias = Tensor((groups * depth, size.hidden)), Tensor((groups * depth,))
    output, output_bias = Tensor((size.hidden, heads * depth)), Tensor((size.hidden,))
    # Position encoding turns each pair of dimensions with the distance, the pair with this one hardly at all.
    slowest = depth // 2 - 1
    # The norm before it makes a hidden state with one dimension on this large there, whatever its strength was.
    normed = math.sqrt(size.hidden)
    in_group = heads // groups
    for group, (dimension, mark) in enumerate(marks.items()):
        for head in range(group * in_group, (group + 1) * in_group):
            query_bias.put((head * depth + slowest,), QUERY)
            output.put((dimension, head * depth), 1.0 / in_group)
        key.put((group * depth + slowest, mark), MARK * math.sqrt(depth) / (QUERY * normed))
        value.put((group * depth, mark), SIGNAL / normed)
    return {
        "input_layernorm.weight": Tensor((size.hidden,), fill=1.0),
        "self_attn.q_proj.weight": query,
        "self_attn.q_proj.bias": query_bias,
        "self_attn.k_proj.weight": key,
        "self_attn.k_proj.bias": key_bias,
        "self_attn.v_proj.weight": value,
        "self_attn.v_proj.bias": value_bias,
        "self_attn.o_proj.weight": output,
        "self_attn.o_proj.bias": output_bias,
        "self_attn.sinks": Tensor((heads,), fill=SINK),
        "post_attention_layernorm.weight": Tensor((size.hidden,), fill=1.0),
    }


def _experts(size: Size) -> dict[str, Tensor]:
    return {
        "mlp.router.weight": Tensor((size.experts, size.hidden)),
        "mlp.router.bias": Tensor((size.experts,)),
        "mlp.experts.gate_up_proj": Tensor((size.experts, size.hidden, 2 * size.intermediate)),
        "mlp.experts.gate_up_proj_bias": Tensor((size.experts, 2 * size.intermediate)),
        "mlp.experts.down_proj": Tensor((size.experts, size.intermediate, size.hidden)),
        "mlp.experts.down_proj_bias": Tensor((size.experts, size.hidden)),
    }
