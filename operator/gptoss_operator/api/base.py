"""How the API's models behave (camelCase, frozen, no unknown fields, documented by docstrings), and plain types."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", max_length=32)]
"""A Kubernetes quantity written as a string, such as `500m`, `16Gi`."""
Price = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$", max_length=16)]
"""Dollars as a decimal number, such as `2.95`."""
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Argument = Annotated[str, Field(max_length=2048)]
LabelValue = Annotated[str, Field(max_length=63)]


class ApiModel(BaseModel):
    """Base of every object in the API. A `rules` class variable holds its CEL rules; see `api.crd`."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        use_enum_values=False,
    )
