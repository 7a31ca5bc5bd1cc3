"""How many GPUs share the model, and whether it fits at all. Pure: the numbers are the memory planner's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gptoss_operator.api.spec import AUTO, GptOssSpec
from gptoss_operator.core.actions import digest_of
from gptoss_operator.core.objects import Node
from gptoss_operator.core.quantity import bytes_of
from gptoss_operator.core.render.orders import server_orders
from gptoss_runtime.model.advice import Advice, advise, recommend_tensor_parallel
from gptoss_runtime.model.catalog import SHAPES, ModelShape
from gptoss_runtime.model.gpu_labels import gpu_of_labels
from gptoss_runtime.model.gpus import GPUS, Gpu, gpu_of_memory
from gptoss_runtime.model.memory import MemoryPlan, Wish
from gptoss_runtime.model.wishes import wish_of


DIGEST_LENGTH: Final = 10
NO_GPU_KNOWN: Final = (
    "no GPU is known, so its memory is not planned: set spec.gpu.type or spec.gpu.memory, or spec.tensorParallel"
)
OTHER_GPUS: Final = "; if replicas get other GPUs than those of the nodes that are there now, set spec.gpu.type"
OWN_WEIGHTS: Final = "the memory of own weights is not planned: set spec.model.name if they are gpt-oss, or this number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """How many GPUs share the model."""

    tensor_parallel: int
    reason: str
    """One sentence: the number, and what it was decided from."""
    refusal: str | None = None
    """Why the spec cannot be carried out on any GPU that is known, and what to change. None: it can."""
    planned: MemoryPlan | None = None
    """The numbers for the smallest GPU that holds it. None: nothing was planned."""
    guessed: bool = False
    """Whether nothing was known to decide from, so that it is decided anew until a replica has worked with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGpus:
    """The GPUs that replicas may get."""

    kinds: tuple[Gpu, ...] = ()
    """Each kind once, the smallest first."""
    per_node: Mapping[str, int]
    """Most GPUs that one node has, by the kind's name; a kind that no node is seen of is absent."""
    stated: bool
    """The spec says which, whatever nodes there are."""


def planned_for(spec: GptOssSpec) -> str:
    """Return a digest of everything in `spec` that a memory plan depends on.

    It is of what the user says, so that a release with further fields leaves it as it is.
    """
    said = {
        "model": spec.model.name,
        "tensorParallel": spec.tensor_parallel,
        "gpu": spec.gpu.model_dump(mode="json", exclude_defaults=True, exclude={"tolerations", "runtime_class_name"}),
        "engine": spec.engine.model_dump(mode="json", exclude_defaults=True),
    }
    return digest_of(said)[:DIGEST_LENGTH]


def decide_parallelism(
    spec: GptOssSpec, before: int | None, nodes: Mapping[str, Node], *, accepted: bool
) -> Parallelism:
    """Return how many GPUs share the model, and whether that fits.

    For `auto` the number that was decided `before` stays, whatever nodes come and go, since another would start all
    replicas again. It is decided anew only where no GPU holds it and this is not the spec that was `accepted`: then no
    replica can run that would be disturbed. For the same reason neither nodes nor the planner of a later release refuse
    a spec that was accepted.
    """
    shape = SHAPES.get(spec.model.name or "")
    if shape is None:
        return _unplanned(spec, before, OWN_WEIGHTS)
    gpus = known_gpus(spec, nodes)
    if not gpus.kinds:
        return _unplanned(spec, before, NO_GPU_KNOWN)
    wish = wish_of(server_orders("", spec, 1))
    if spec.tensor_parallel != AUTO:
        return _checked(shape, gpus, replace(wish, tensor_parallel=spec.tensor_parallel), "", binding=not accepted)
    if before is not None:
        kept = _checked(shape, gpus, replace(wish, tensor_parallel=before), " as decided before", binding=not accepted)
        if kept.refusal is None:
            return kept
    return _chosen(shape, gpus, wish)


def known_gpus(spec: GptOssSpec, nodes: Mapping[str, Node]) -> KnownGpus:
    """Return the GPUs that the spec names, else those that the labels of the nodes say that its nodeSelector chooses.

    A slice of a GPU by a resource of its own, such as `nvidia.com/mig-3g.40gb`, has none of the memory that the labels
    speak of, so that only the spec can say it.
    """
    stated = _stated(spec)
    found: dict[str, Gpu] = {}
    per_node: dict[str, int] = {}
    for node in nodes.values():
        number = gpus_of_node(node, spec)
        gpu = gpu_of_labels(node.metadata.labels) if number else None
        if stated and number and (gpu is None or gpu.name == stated.name or spec.gpu.memory):
            gpu = stated
        if gpu is None or (stated and gpu is not stated):
            continue
        per_node[gpu.name] = max(number, per_node.get(gpu.name, 0))
        if gpu.name not in found or gpu.usable_bytes < found[gpu.name].usable_bytes:
            found[gpu.name] = gpu
    if stated:
        return KnownGpus(kinds=(stated,), per_node=per_node, stated=True)
    if "/mig-" in spec.gpu.resource:
        return KnownGpus(per_node={}, stated=False)
    kinds = sorted(found.values(), key=lambda gpu: (gpu.usable_bytes, gpu.name))
    return KnownGpus(kinds=tuple(kinds), per_node=per_node, stated=False)


def _stated(spec: GptOssSpec) -> Gpu | None:
    if spec.gpu.type:
        return GPUS[spec.gpu.type]
    if spec.gpu.memory:
        gpu = gpu_of_memory(bytes_of(spec.gpu.memory), amd=spec.gpu.resource.startswith("amd.com/"))
        return replace(gpu, is_slice="/mig-" in spec.gpu.resource)
    return None


def gpus_of_node(node: Node, spec: GptOssSpec) -> int:
    """Return how many GPUs a node has for replicas; 0 for one that they may not run on."""
    labels = node.metadata.labels
    if any(labels.get(name) != value for name, value in spec.gpu.node_selector.items()):
        return 0
    number = node.status.allocatable.get(spec.gpu.resource, "")
    return int(number) if number.isdecimal() else 0


def _unplanned(spec: GptOssSpec, before: int | None, why: str) -> Parallelism:
    size = (before or 1) if spec.tensor_parallel == AUTO else spec.tensor_parallel
    guessed = before is None and spec.tensor_parallel == AUTO
    return Parallelism(tensor_parallel=size, reason=f"tensorParallel {size}: {why}", guessed=guessed)


def _checked(shape: ModelShape, gpus: KnownGpus, wish: Wish, how: str, *, binding: bool) -> Parallelism:
    """Return a size that is given, with what it means for the GPUs. Refused if it is binding and none of them does."""
    advices = [advise(shape, gpu, wish) for gpu in gpus.kinds]
    holding = next((index for index, advice in enumerate(advices) if advice.fits), None)
    size = wish.tensor_parallel
    if holding is None:
        reason = f"tensorParallel {size}{how}: {advices[-1].reason}"
        return Parallelism(tensor_parallel=size, reason=reason, refusal=_refusal(reason, gpus) if binding else None)
    return _told(size, how, advices[holding], gpus, holding)


def _chosen(shape: ModelShape, gpus: KnownGpus, wish: Wish) -> Parallelism:
    """Return the size for the smallest GPU that can hold the model at all."""
    reason = ""
    for index, gpu in enumerate(gpus.kinds):
        best = recommend_tensor_parallel(shape, gpu, wish, gpus_per_node=gpus.per_node.get(gpu.name))
        reason = best.reason
        if best.tensor_parallel is not None:
            advice = advise(shape, gpu, replace(wish, tensor_parallel=best.tensor_parallel))
            return _told(best.tensor_parallel, "", advice, gpus, index)
    return Parallelism(tensor_parallel=1, reason=reason, refusal=_refusal(reason, gpus))


def _refusal(reason: str, gpus: KnownGpus) -> str:
    """Return why a spec is refused. Nodes that an autoscaler has yet to make are not known by their labels."""
    return reason if gpus.stated else reason + OTHER_GPUS


def _told(size: int, how: str, advice: Advice, gpus: KnownGpus, index: int) -> Parallelism:
    """Return a size that fits on the kind `index`, with a word on the kinds beside it."""
    reason = f"tensorParallel {size}{how}: {advice.reason}"
    smaller = ", ".join(gpu.name for gpu in gpus.kinds[:index])
    larger = ", ".join(gpu.name for gpu in gpus.kinds[index + 1 :])
    if smaller:
        reason += f"; too small for it: {smaller}, which spec.gpu.nodeSelector or spec.gpu.type can leave out"
    elif larger:
        reason += f"; planned for the smallest GPU, there are also {larger}"
    return Parallelism(tensor_parallel=size, reason=reason, planned=advice.plan)
