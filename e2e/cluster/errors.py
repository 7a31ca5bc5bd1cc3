"""What can go wrong when a cluster is built, started or used."""


class ClusterError(Exception):
    """Something about a cluster could not be done.

    The message says what was tried, on what, and what the reader can do.
    """
