"""The table of prices for all deployments."""

from pathlib import Path

import pytest

from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.errors import SettingsError
from gptoss_operator.shell.prices import read_prices
from gptoss_operator.shell.settings import parse
from tests.shell.test_settings import IMAGES


def test_the_file_is_a_list_as_in_a_spec(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text('- {capacityType: Spot, zone: us-east-1b, gpuHour: "1.05"}\n')
    price = PriceSpec(capacity_type="Spot", zone="us-east-1b", gpu_hour="1.05")
    assert read_prices(str(table)) == (price,)
    assert parse([*IMAGES, f"--prices={table}"], {}).render_options.prices == (price,)


def test_none_and_an_empty_file_are_no_prices(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    assert read_prices("") == ()
    assert read_prices(str(tmp_path / "empty.yaml")) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {capacityType: Spot, gpuHour: 1.05}", "0.gpuHour: Input should be a valid string"),
        ("- {capacityType: Reserved, gpuHour: '1'}", "0.capacityType: "),
        ("- {capacityType: Spot}", "0.gpuHour: Field required"),
        ("a: b", "the file: "),
        ("- {", "is no YAML"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_prices(str(table))
    assert message in str(refused.value)
    assert str(table) in str(refused.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_prices(str(tmp_path / "absent.yaml"))
