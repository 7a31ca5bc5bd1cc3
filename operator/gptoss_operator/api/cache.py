"""Where a replica keeps what a later start can use again: fetched weights, and what compilers made."""

from typing import ClassVar

from pydantic import Field

from gptoss_operator.api.base import ApiModel, DnsName, Quantity
from gptoss_operator.api.rules import Rule


class CacheClaim(ApiModel):
    """A PersistentVolumeClaim that all replicas share: one Job fills it, before replicas take a GPU."""

    claim_name: DnsName | None = None
    """A claim that exists. It is kept when the GptOssDeployment is deleted."""
    size: Quantity | None = None
    """Size of a claim that the operator makes, and that is deleted with the GptOssDeployment. gpt-oss-120b needs 80Gi,
    gpt-oss-20b 20Gi."""
    storage_class_name: DnsName | None = None
    """StorageClass of the claim that the operator makes. Default: the cluster's."""
    access_mode: str = Field(default="ReadWriteMany", pattern="^(ReadWriteMany|ReadWriteOnce)$")
    """ReadWriteMany, or ReadWriteOnce where all replicas run on one node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.claimName) != has(self.size)", "set one of claimName (a claim that exists) and size (a new one)"
        ),
    )


class CacheDirectory(ApiModel):
    """A directory of each node. The first replica on a node fills it; the namespace must allow hostPath volumes."""

    path: str = Field(pattern=r"^/", max_length=1024)
    """Absolute path on every node; user 10001 must be able to write there."""


class EphemeralCache(ApiModel):
    """A directory of each pod, gone with it."""

    size_limit: Quantity | None = None
    """The most that it may hold. Default: what the node has."""


class CacheSpec(ApiModel):
    """Where fetched weights and compiled kernels are kept: at most one of the fields. Default: ephemeral."""

    persistent_volume_claim: CacheClaim | None = None
    """A claim that all replicas share."""
    host_path: CacheDirectory | None = None
    """A directory of each node."""
    ephemeral: EphemeralCache | None = None
    """A directory of each pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.persistentVolumeClaim), has(self.hostPath), has(self.ephemeral)].filter(x, x).size() <= 1",
            "set at most one of persistentVolumeClaim, hostPath, ephemeral",
        ),
    )
