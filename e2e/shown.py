"""Progress of fixtures, for the person who waits for pytest."""

import contextlib

import pytest


def shown(request: pytest.FixtureRequest) -> contextlib.AbstractContextManager[None]:
    """Let progress through, though pytest captures what tests print."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return contextlib.nullcontext()
    manager: contextlib.AbstractContextManager[None] = capture.global_and_fixture_disabled()
    return manager
