"""What the simulator raises on purpose."""

from gptoss_operator.errors import GptOssError


class ScenarioError(GptOssError):
    """A scenario, or a file that one is made of, cannot be used. The message names the place and the remedy."""
