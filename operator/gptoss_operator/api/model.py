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
    """A repository on the Hugging Face hub, or on a mirror of it. `spec.cache` says where it is kept."""

    repository: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=200)
    """Owner and name, such as `openai/gpt-oss-20b`."""
    revision: str = Field(default="", max_length=100, pattern=r"^[\w./-]*$")
    """Commit, tag or branch. Empty takes the repository's default branch; a commit makes restarts reproducible."""
    token_secret_ref: SecretKeyRef | None = None
    """Secret that holds an access token, for private or gated repositories."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s]+$", max_length=500)
    """Address of a mirror of the hub. Default: the hub itself."""


class ObjectStoreSource(ApiModel):
    """A directory in an object store. `spec.cache` says where it is kept, unless spec.engine.load streams it."""

    url: str = Field(pattern=r"^(s3|gs|az|https?)://[^\s]+$", max_length=1024)
    """Directory that holds config.json, such as `s3://bucket/gpt-oss-20b`."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s]+$", max_length=500)
    """Address of an S3-compatible store. Default: the provider's own."""
    secret_name: DnsName | None = None
    """Secret whose keys become environment variables, such as AWS_ACCESS_KEY_ID. Default: the pod's cloud identity."""


class ImageSource(ApiModel):
    """An OCI image whose files are the weights, mounted read-only. Kubernetes 1.33 or later."""

    reference: str = Field(min_length=1, max_length=500)
    """Name of the image."""
    path: str = Field(default="", max_length=1024)
    """Directory in the image that holds config.json. Empty is its root."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.path) || (!self.path.startsWith('/') && !self.path.contains('..'))",
            "path is relative to the image's root and may not contain '..'",
            field="path",
        ),
    )


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
    object_store: ObjectStoreSource | None = None
    """A directory in an object store."""
    image: ImageSource | None = None
    """An OCI image."""
    persistent_volume_claim: PersistentVolumeClaimSource | None = None
    """A directory in a PersistentVolumeClaim."""
    host_path: HostPathSource | None = None
    """A directory of the node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.huggingFace), has(self.objectStore), has(self.image), has(self.persistentVolumeClaim), "
            "has(self.hostPath)].filter(x, x).size() == 1",
            "set exactly one of huggingFace, objectStore, image, persistentVolumeClaim, hostPath",
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
