"""What the middleware knows of all requests together: who has how many here, and who has used how many tokens.

Standard library only, since it is loaded into vLLM's process. Used from one event loop only.
"""

import socket

from gptoss_runtime.gateway_contract import USAGE_PORT, Usage
from gptoss_runtime.server.usage import Tokens


IN_FLIGHT_PATH = "/gptoss/in_flight"
"""Answers `{"in_flight": {"10.0.0.7": 3}, "answers": 90, "failed": 1}`: unfinished requests by the client's address,
and requests that are over since vLLM's start, those that failed among them.

For `gptoss-server` in the same pod; a gateway lets no client ask for it."""
TOKENS_PATH = "/gptoss/tokens"
"""Answers `{"tokens": {"tenant": [prompt, generation]}, "unsent_reports": 0}`, since vLLM's start."""
NUMBERS_PATH = "/gptoss/numbers"
"""Answers vLLM's exposition, but only the samples in `telemetry.NAMES`; 404 where vLLM has several API processes, of
which each knows only its own numbers."""
CUT_PATH = "/gptoss/cut"
"""POST to `/gptoss/cut/TOKEN` ends all requests now and refuses those that come, with 503; it answers
`{"streams": 2, "others": 1}` within about a second. DELETE lets requests in again. 404 for a wrong token."""
CUT_TOKEN_ENV = "GPTOSS_CUT_TOKEN"  # noqa: S105 - the variable's name
"""Environment variable of vLLM with the token, which other pods cannot know. Unset: nobody can cut."""
OWN_HEADER = "x-gptoss-own"
"""Request header with the token of `CUT_TOKEN_ENV`: a request of the supervisor's own, which is no client's."""
MAX_TENANTS = 1000
"""Tenants that are counted each for itself, so that a stranger's names cannot fill the memory, or Prometheus."""
OTHER = "other"
"""All further tenants together."""


class Books:
    """Counts of now and of all time."""

    def __init__(self) -> None:
        self.in_flight: dict[str, int] = {}
        """By the client's address; those that have none are absent."""
        self._answers = 0
        self._failed = 0
        self._tokens: dict[str, list[int]] = {}
        self._unsent_reports = 0

    def begin(self, address: str) -> None:
        """Count a request that came."""
        self.in_flight[address] = self.in_flight.get(address, 0) + 1

    def end(self, address: str) -> None:
        """Count a request that was counted when it came, and is over."""
        left = self.in_flight[address] - 1
        if left:
            self.in_flight[address] = left
        else:
            del self.in_flight[address]

    def count_answer(self, *, failed: bool) -> None:
        """Count a request that is over, whose answer failed or not."""
        self._answers += 1
        self._failed += failed

    def requests(self) -> dict[str, object]:
        """Return the requests of now by address, and how many are over, well and badly."""
        return {"in_flight": self.in_flight, "answers": self._answers, "failed": self._failed}

    def spend(self, tenant: str, tokens: Tokens) -> None:
        """Add to the tenant's tokens."""
        if tenant not in self._tokens and len(self._tokens) >= MAX_TENANTS:
            tenant = OTHER
        spent = self._tokens.setdefault(tenant, [0, 0])
        spent[0] += tokens.prompt
        spent[1] += tokens.generation

    def report(self, address: str, usage: Usage) -> None:
        """Tell the gateway at `address`: one datagram, without waiting. What cannot be sent is only counted."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
                out.sendto(usage.encode(), (address, USAGE_PORT))
        except OSError:
            self._unsent_reports += 1

    def totals(self) -> dict[str, object]:
        """Return tokens of prompts and answers by tenant, and the number of reports that could not be sent."""
        return {"tokens": self._tokens, "unsent_reports": self._unsent_reports}
