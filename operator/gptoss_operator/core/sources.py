"""Where a replica finds its weights: what must be fetched first, where to, and what vLLM is told."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, assert_never
from urllib.parse import urlsplit

from gptoss_operator.api import names
from gptoss_operator.api.model import (
    HostPathSource,
    HuggingFaceSource,
    ImageSource,
    ModelSource,
    ObjectStoreSource,
    PersistentVolumeClaimSource,
)
from gptoss_operator.api.spec import GptOssSpec, model_source
from gptoss_runtime.engine_options import LoadFormat
from gptoss_runtime.orders import WeightsOrder


MODEL_DIR: Final = "/models"
"""Where a volume with weights is mounted."""
CACHE_DIR: Final = "/cache"
"""Where the cache is mounted: what a later start, or another replica, can use again."""
COMPILE_CACHE: Final = f"{CACHE_DIR}/compile"

STREAMERS: Final = frozenset({LoadFormat.RUNAI_STREAMER, LoadFormat.RUNAI_STREAMER_SHARDED})
"""Load formats with which vLLM reads an object store itself."""
STREAMED_SCHEMES: Final = ("s3://", "gs://", "az://")
"""Object stores that they can read. From others the weights are fetched, and streamed from the cache."""

KEY_LENGTH: Final = 64
DIGEST_LENGTH: Final = 8
IDENTITY_LENGTH: Final = 10

Source = HuggingFaceSource | ObjectStoreSource | ImageSource | PersistentVolumeClaimSource | HostPathSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Weights that a Job is to bring into a claim."""

    order: WeightsOrder
    claim: str
    """Name of the claim."""
    claim_uid: str
    """Which one of that name, for a claim that the operator made. Empty for the user's own: those are not watched."""

    @property
    def directory(self) -> str:
        """Name of the directory of these weights, the same in every deployment that shares a cache."""
        return self.order.directory.rsplit("/", 1)[-1]

    @property
    def identity(self) -> str:
        """Digest of which weights go into which claim."""
        text = f"{self.claim}\n{self.claim_uid}\n{self.directory}"
        return hashlib.sha256(text.encode()).hexdigest()[:IDENTITY_LENGTH]


def chosen_source(source: ModelSource) -> Source:
    """Return the one source that is set."""
    chosen = (
        source.hugging_face or source.object_store or source.image or source.persistent_volume_claim or source.host_path
    )
    if chosen is None:
        raise ValueError("a model source without a field passed the schema")
    return chosen


def model_reference(spec: GptOssSpec) -> str:
    """Return what vLLM is told the model is: a directory in the pod, or the address of what it streams."""
    if order := weights_to_fetch(spec):
        return order.directory
    match chosen := chosen_source(model_source(spec)):
        case ObjectStoreSource():
            return chosen.url
        case PersistentVolumeClaimSource() | ImageSource():
            return f"{MODEL_DIR}/{chosen.path}".rstrip("/")
        case HostPathSource():
            return MODEL_DIR
        case HuggingFaceSource():
            raise ValueError("a repository is always fetched")
        case _:
            assert_never(chosen)


def weights_to_fetch(spec: GptOssSpec) -> WeightsOrder | None:
    """Return what has to be in the cache before vLLM starts. None: nothing, since it is mounted or streamed."""
    match chosen := chosen_source(model_source(spec)):
        case HuggingFaceSource():
            return _order(f"hf://{chosen.repository}", chosen.repository, chosen.revision, chosen.endpoint)
        case ObjectStoreSource():
            if is_streamed(spec):
                return None
            return _order(chosen.url, _last_parts(chosen.url), "", chosen.endpoint)
        case ImageSource() | PersistentVolumeClaimSource() | HostPathSource():
            return None
        case _:
            assert_never(chosen)


def is_streamed(spec: GptOssSpec) -> bool:
    """Return whether vLLM reads the weights from an object store into the GPUs, and nothing is fetched."""
    store = model_source(spec).object_store
    return store is not None and spec.engine.load.format in STREAMERS and store.url.startswith(STREAMED_SCHEMES)


def weights_for_server(spec: GptOssSpec) -> WeightsOrder | None:
    """Return what the replica's server fetches itself. With a claim it is there already: a Job has fetched it."""
    return None if spec.cache.persistent_volume_claim else weights_to_fetch(spec)


def weights_for_job(spec: GptOssSpec) -> WeightsOrder | None:
    """Return what a Job fetches into the claim, before replicas start."""
    return weights_to_fetch(spec) if spec.cache.persistent_volume_claim else None


def compile_cache(spec: GptOssSpec) -> str:
    """Return the directory for what compilers make, where the cache outlives its pod. Empty: there is none."""
    return COMPILE_CACHE if spec.cache.persistent_volume_claim or spec.cache.host_path else ""


def cache_claim(deployment: str, spec: GptOssSpec) -> str | None:
    """Return the name of the claim that holds the cache, the user's or the operator's own. None: it is no claim."""
    claim = spec.cache.persistent_volume_claim
    if claim is None:
        return None
    return claim.claim_name or names.cache_claim(deployment)


def _order(source: str, name: str, revision: str, endpoint: str | None) -> WeightsOrder:
    """Return the order. Its directory's name is readable, and another one for all that is fetched from elsewhere."""
    endpoint = endpoint or ""
    digest = hashlib.sha256(f"{source}\n{revision}\n{endpoint}".encode()).hexdigest()[:DIGEST_LENGTH]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "--"))[:KEY_LENGTH].strip("-.")
    directory = f"{CACHE_DIR}/weights/{readable}-{digest}"
    return WeightsOrder(source=source, revision=revision, directory=directory, endpoint=endpoint)


def _last_parts(url: str) -> str:
    """Return the last two parts of an address, without what may be secret in it."""
    parts = urlsplit(url)
    return "/".join([parts.hostname or "", *(part for part in parts.path.split("/") if part)][-2:])
