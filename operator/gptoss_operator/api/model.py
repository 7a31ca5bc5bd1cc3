"""Which model a user may ask for, and where its weights come from."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from gptoss_operator.api.base import ApiModel, DnsName
from gptoss_operator.api.rules import Rule


class ModelName(StrEnum):
    """The models that the operator knows."""

    GPT_OSS_120B = "gpt-oss-120b"
    GPT_OSS_20B = "gpt-oss-20b"


class SecretKeyRef(ApiModel):
    """One key of a Secret in the same namespace."""

    name: DnsName
    """Name of the Secret."""
    key: str = Field(min_length=1, max_length=253)
    """Key in the Secret's data."""


class HuggingFaceSource(ApiModel):
    """A repository on the Hugging Face hub, downloaded by each replica when it starts."""

    repository: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=200)
    """Owner and name, such as `openai/gpt-oss-20b`."""
    revision: str = Field(default="", max_length=100, pattern=r"^[\w./-]*$")
    """Commit, tag or branch. Empty takes the repository's default branch; a commit makes restarts reproducible."""
    token_secret_ref: SecretKeyRef | None = None
    """Secret that holds an access token, for private or gated repositories."""


class PersistentVolumeClaimSource(ApiModel):
    """A directory in a PersistentVolumeClaim of the same namespace, mounted read-only."""

    claim_name: DnsName
    """Name of the claim. With more than one node it must be ReadOnlyMany or ReadWriteMany."""
    path: str = Field(default="", max_length=1024)
    """Directory in the volume that holds config.json. Empty is the volume's root."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.path) || (!self.path.startsWith('/') && !self.path.contains('..'))",
            "path is relative to the volume's root and may not contain '..'",
            field="path",
        ),
    )


class HostPathSource(ApiModel):
    """A directory of the node, mounted read-only. The namespace must allow hostPath volumes."""

    path: str = Field(pattern=r"^/", max_length=1024)
    """Absolute path on every node that may run a replica; it holds config.json."""


class ModelSource(ApiModel):
    """Where the weights come from: exactly one of the fields."""

    hugging_face: HuggingFaceSource | None = None
    """A repository on the Hugging Face hub."""
    persistent_volume_claim: PersistentVolumeClaimSource | None = None
    """A directory in a PersistentVolumeClaim."""
    host_path: HostPathSource | None = None
    """A directory of the node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.huggingFace), has(self.persistentVolumeClaim), has(self.hostPath)].filter(x, x).size() == 1",
            "set exactly one of huggingFace, persistentVolumeClaim, hostPath",
        ),
    )


class ModelSpec(ApiModel):
    """Which model is served."""

    name: ModelName | None = None
    """A model that the operator knows. It decides the default source and the served name."""
    source: ModelSource | None = None
    """Where the weights come from. Default: the model's own Hugging Face repository."""
    served_name: str | None = Field(default=None, pattern=r"^[\w./:-]+$", max_length=200)
    """Name that clients send as `model`. Default: `openai/<name>`, or the object's name for a custom source."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.name) || has(self.source)", "set name (gpt-oss-120b or gpt-oss-20b), or source for other weights"
        ),
    )
