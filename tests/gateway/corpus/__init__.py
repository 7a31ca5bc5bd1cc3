"""Malformed and hostile requests. Each gets a 4xx or a closed connection, and no replica sees it."""

from tests.gateway.corpus.bodies import BODIES
from tests.gateway.corpus.framing import FRAMING
from tests.gateway.corpus.heads import HEADS
from tests.gateway.corpus.http2 import HTTP2


CORPUS = (*FRAMING, *HEADS, *BODIES, *HTTP2)
