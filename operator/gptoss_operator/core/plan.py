"""One pass: from the user's object and what was seen to the whole plan."""

from datetime import datetime
from typing import Any

from gptoss_operator.core.actions import Plan
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.render.options import RenderOptions


def make_plan(body: dict[str, Any], seen: Observation, options: RenderOptions, now: datetime) -> Plan:
    """Return what to do for one GptOssDeployment."""
    raise NotImplementedError
