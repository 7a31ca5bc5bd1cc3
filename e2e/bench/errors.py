"""What can keep a benchmark from measuring."""


class BenchError(Exception):
    """Something that is needed is not there or did not start; the message says what, and what to do."""
