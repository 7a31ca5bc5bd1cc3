"""Kubernetes quantities as numbers. Pure."""

from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Final


_UNITS: Final = MappingProxyType(
    {
        "m": Decimal("0.001"),
        **{unit: Decimal(1000**power) for power, unit in enumerate(("k", "M", "G", "T", "P"), start=1)},
        **{unit: Decimal(1024**power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
    }
)


def bytes_of(quantity: str) -> int:
    """Return a quantity such as `80Gi` in bytes, rounded up as Kubernetes does.

    It is of the form that the API's `Quantity` has; its pattern refuses others.
    """
    number = quantity.rstrip("mkMGTPi")
    factor = _UNITS.get(quantity[len(number) :], Decimal(1))
    return int((Decimal(number) * factor).to_integral_value(rounding=ROUND_CEILING))
