"""What AWS announces, two minutes before it takes a spot instance. Pure.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
"""

import json
from typing import Any

from gptoss_runtime.contract import Notice, NoticeKind
from gptoss_runtime.server.interruption.question import Question, UnreadableError
from gptoss_runtime.server.interruption.times import read_time


TOKEN_PATH = "/latest/api/token"  # noqa: S105 - where tokens are
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - its name
TOKEN_LIFE_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"  # noqa: S105 - its name
TOKEN_LIFE_SECONDS = 21600
"""The longest that there is. One that has run out is answered with 401, and a new one is asked for."""

ACTION = "AWS spot/instance-action"
REBALANCE = "AWS events/recommendations/rebalance"


def read_action(text: str) -> Notice | None:
    """Return the announcement in `spot/instance-action`: the instance is terminated, stopped or hibernated.

    Raises UnreadableError.
    """
    return Notice(kind=NoticeKind.TERMINATION, source=ACTION, deadline=read_time(_object(text).get("time")))


def read_rebalance(text: str) -> Notice | None:
    """Return the announcement in `events/recommendations/rebalance`. Raises UnreadableError."""
    # When it was given says nothing of when the instance goes.
    read_time(_object(text).get("noticeTime"))
    return Notice(kind=NoticeKind.REBALANCE, source=REBALANCE)


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableError("a JSON object is needed")
    return document


QUESTIONS = (
    Question(source=ACTION, path="/latest/meta-data/spot/instance-action", read=read_action, absent_is_nothing=True),
    Question(
        source=REBALANCE,
        path="/latest/meta-data/events/recommendations/rebalance",
        read=read_rebalance,
        absent_is_nothing=True,
    ),
)
"""To be asked with a token."""
