"""The room in which all scenarios run gptoss-server over real vLLM."""

import pytest

from e2e.model import ensure_model
from e2e.shown import shown
from e2e.vllm.room import Room, open_room


@pytest.fixture(scope="session")
def room(request: pytest.FixtureRequest) -> Room:
    """The server's image with this checkout's code, and the tiny model in it."""
    with shown(request):
        return open_room(ensure_model())
