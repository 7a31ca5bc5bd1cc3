"""What the pods of replicas and those that fetch weights share: access to the source, and what the user adds."""

from gptoss_operator.api.names import LABEL_COMPONENT, identity
from gptoss_operator.api.spec import EnvVar, GptOssSpec, model_source
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.sources import is_streamed


def pod_metadata(deployment: str, spec: GptOssSpec, component: str) -> Manifest:
    """Return the metadata of a pod template: the user's labels and annotations, and ours."""
    return {
        "labels": {**spec.pod.labels, **identity(deployment), LABEL_COMPONENT: component},
        **({"annotations": spec.pod.annotations} if spec.pod.annotations else {}),
    }


def access_env(spec: GptOssSpec) -> list[Manifest]:
    """Return the variables with which the model's source is reached."""
    source = model_source(spec)
    if hub := source.hugging_face:
        token = hub.token_secret_ref
        return [
            *([_secret_env("HF_TOKEN", token.name, token.key)] if token else ()),
            *([{"name": "HF_ENDPOINT", "value": hub.endpoint}] if hub.endpoint else ()),
        ]
    # Whoever fetches is told the address in its order; vLLM's streamer has this variable only.
    if is_streamed(spec) and source.object_store and source.object_store.endpoint:
        return [{"name": "AWS_ENDPOINT_URL", "value": source.object_store.endpoint}]
    return []


def access_env_from(spec: GptOssSpec) -> list[Manifest]:
    """Return the Secret whose keys become variables with which an object store is reached."""
    store = model_source(spec).object_store
    return [{"secretRef": {"name": store.secret_name}}] if store and store.secret_name else []


def users_env(spec: GptOssSpec) -> list[Manifest]:
    """Return the variables that the user adds, such as those of a proxy."""
    return [_env(variable) for variable in spec.pod.env]


def tolerations(spec: GptOssSpec) -> list[Manifest]:
    """Return the user's tolerations, and one for the taint that GPU nodes commonly carry."""
    gpu = {"key": spec.gpu.resource, "operator": "Exists", "effect": "NoSchedule"}
    return [gpu, *(t.model_dump(by_alias=True, exclude_none=True) for t in spec.gpu.tolerations)]


def users_fields(spec: GptOssSpec) -> Manifest:
    """Return the optional fields of the pod spec that the user set, wherever the pod runs."""
    optional: Manifest = {
        "priorityClassName": spec.pod.priority_class_name,
        "serviceAccountName": spec.pod.service_account_name,
        "imagePullSecrets": [{"name": name} for name in spec.pod.image_pull_secrets],
    }
    return {key: value for key, value in optional.items() if value}


def _env(variable: EnvVar) -> Manifest:
    if variable.secret_key_ref:
        return _secret_env(variable.name, variable.secret_key_ref.name, variable.secret_key_ref.key)
    return {"name": variable.name, "value": variable.value or ""}


def _secret_env(name: str, secret: str, key: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
