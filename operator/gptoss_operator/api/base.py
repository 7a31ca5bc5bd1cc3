"""How the API's models behave: camelCase outside, frozen, strict about unknown fields, documented by docstrings."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


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
