"""`python -m e2e.clients`: resolve guidellm's packages anew, after those of the server image."""

import sys

from e2e.clients.packages import LOCK, write_guidellm_lock
from e2e.images.errors import ImageError


def main() -> int:
    """Write the lock file; return 0, or 1 with the reason on standard error."""
    try:
        write_guidellm_lock()
    except ImageError as error:
        print(f"clients: {error}", file=sys.stderr)
        return 1
    print(LOCK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
