"""How many files a process may have open."""

import resource


def raise_open_files() -> None:
    """Let this process and all that it starts open as many files as the machine allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
