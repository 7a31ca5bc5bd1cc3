"""The price table for all deployments, from a file."""

from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.errors import SettingsError


PRICES = TypeAdapter(tuple[PriceSpec, ...])


def read_prices(path: str) -> tuple[PriceSpec, ...]:
    """Return the prices in a YAML file: a list of the shape that `spec.prices` has. No path: none.

    Raises SettingsError, naming the file and the entry.
    """
    if not path:
        return ()
    try:
        return PRICES.validate_python(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or ())
    except OSError as error:
        raise SettingsError(f"--prices: {path} cannot be read ({error.strerror}): mount it, or leave it out") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"--prices: {path} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(
            f"--prices: {path}: {where}: {first['msg']}; entries are as in spec.prices, such as "
            '{capacityType: Spot, gpuHour: "1.20"}'
        ) from error
