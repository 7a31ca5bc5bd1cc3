"""From the text of an order to its source."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from gptoss_runtime.orders import WeightsOrder
from gptoss_runtime.weights.errors import BadOrderError
from gptoss_runtime.weights.listing import Source


STORES = ("s3", "gs", "az", "http", "https")


def open_source(order: WeightsOrder, environment: Mapping[str, str]) -> Source:
    """Return where the order's weights come from; nobody is asked yet. Raises BadOrderError."""
    scheme = urlsplit(order.source).scheme
    if scheme == "hf":
        # Only now: a complete directory and a bad order are told without loading what neither needs.
        from gptoss_runtime.weights.hub import Hub  # noqa: PLC0415

        token = environment.get("HF_TOKEN", "").strip()
        return Hub(order.source, revision=order.revision, endpoint=order.endpoint, token=token)
    if scheme in STORES:
        from gptoss_runtime.weights.store import Store  # noqa: PLC0415

        return Store(order.source, endpoint=order.endpoint)
    raise BadOrderError(f"source {order.source!r} is neither hf://owner/name nor one of {', '.join(STORES)}")
