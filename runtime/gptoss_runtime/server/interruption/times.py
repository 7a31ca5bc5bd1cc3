"""Times as clouds write them. Pure."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gptoss_runtime.server.interruption.question import UnreadableError


def read_time(text: object) -> float:
    """Return seconds since 1970 of a time as ISO 8601 or HTTP write it; one without a zone is UTC.

    Raises UnreadableError.
    """
    if isinstance(text, str):
        for parse in (datetime.fromisoformat, parsedate_to_datetime):
            try:
                time = parse(text.strip())
                return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                continue
    raise UnreadableError(f"{text!r} is not a time")
