"""How fast replicas are that somebody measured.

One measurement gives one point: requests at once n = tokens per second * time per token (Little's law). Of an
iteration's time, what does not grow with n is assumed, and the rest is fitted, so that the simulator repeats the
measurement; see `fitted`. Whoever has two measurements of own machines can do better with an own `ReplicaModel`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gptoss_operator.sim.contract import ReplicaModel
from gptoss_operator.sim.errors import ScenarioError


BASE_SECONDS: Final = 0.008
"""Assumed time of an iteration with hardly any request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One load test of one replica, kept full."""

    output_tokens_per_second: float
    requests_per_second: float
    seconds_per_token: float
    """Mean time between two tokens of a request."""
    prompt_tokens: float
    """Mean of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A replica whose speed is known, and from where."""

    replica: ReplicaModel
    source: str


def fitted(
    measured: Measured, *, prefill_tokens_per_second: float, max_num_seqs: int, kv_tokens: int, gpus: int
) -> ReplicaModel:
    """Return the model that repeats a measurement.

    A token takes an iteration and the prompts that are computed meanwhile, so that the share of time for prompts is
    taken off it first; the rest is `base + per_request * n`.
    """
    share = measured.requests_per_second * measured.prompt_tokens / prefill_tokens_per_second
    at_once = measured.output_tokens_per_second * measured.seconds_per_token
    iteration = measured.seconds_per_token * (1 - share)
    return ReplicaModel(
        base_seconds=BASE_SECONDS,
        per_request_seconds=(iteration - BASE_SECONDS) / at_once,
        prefill_tokens_per_second=prefill_tokens_per_second,
        max_num_seqs=max_num_seqs,
        kv_tokens=kv_tokens,
        gpus=gpus,
    )


_GPUSTACK: Final = (
    "GPUStack's load test of gpt-oss-120b on H100 80 GB with vLLM 0.10.2, ShareGPT (215 tokens in, 196 out): {},"
    " fitted; iterations of 8 ms when empty and the speed of prompts are assumed; key-value cache by the memory planner"
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "gpt-oss-120b-h100-tp1": Preset(
            replica=fitted(
                Measured(
                    output_tokens_per_second=2_943,
                    requests_per_second=15.0,
                    seconds_per_token=0.045,
                    prompt_tokens=215,
                ),
                prefill_tokens_per_second=17_000,
                max_num_seqs=128,
                kv_tokens=150_000,
                gpus=1,
            ),
            source=_GPUSTACK.format("2,943 output tokens/s, 45 ms per token on one GPU"),
        ),
        "gpt-oss-120b-h100-tp2": Preset(
            replica=fitted(
                Measured(
                    output_tokens_per_second=7_649,
                    requests_per_second=38.98,
                    seconds_per_token=0.043,
                    prompt_tokens=215,
                ),
                prefill_tokens_per_second=30_000,
                max_num_seqs=512,
                kv_tokens=2_000_000,
                gpus=2,
            ),
            source=_GPUSTACK.format("7,649 output tokens/s, 43 ms per token on two GPUs"),
        ),
        "gpt-oss-120b-h100-tp4": Preset(
            replica=fitted(
                Measured(
                    output_tokens_per_second=11_327,
                    requests_per_second=57.8,
                    seconds_per_token=0.0286,
                    prompt_tokens=215,
                ),
                prefill_tokens_per_second=60_000,
                max_num_seqs=512,
                kv_tokens=5_900_000,
                gpus=4,
            ),
            source=_GPUSTACK.format("11,327 output tokens/s, 28.6 ms per token on four GPUs"),
        ),
    }
)
"""By name."""


def preset(name: str) -> Preset:
    """Return the preset of that name. Raises `ScenarioError`, which names those that there are."""
    found = PRESETS.get(name)
    if found is None:
        raise ScenarioError(f"there is no replica model {name}: take one of {', '.join(PRESETS)}")
    return found
