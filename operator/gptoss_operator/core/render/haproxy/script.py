"""HAProxy's Lua script, which is data of this package."""

from importlib.resources import files
from typing import Final


SCRIPT_FILE: Final = "stream_end.lua"
SCRIPT: Final = files(__package__).joinpath(SCRIPT_FILE).read_text()
