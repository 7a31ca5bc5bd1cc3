"""What can go wrong while weights are fetched."""


class FetchError(Exception):
    """The weights cannot be fetched now; the message says what was tried and the remedy."""


class BadOrderError(FetchError):
    """The order cannot be carried out; running again will not help."""


class TransientError(Exception):
    """The network or the other side failed in a way that may pass."""

    def __init__(self, reason: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        """The least that the other side asks to be left alone."""
