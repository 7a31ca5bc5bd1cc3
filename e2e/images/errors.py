"""What can go wrong while images are made, in words that say what to do about it."""


class ImageError(Exception):
    """The root of this package's errors; its message says what was tried, on what, and what the reader can do."""


class NotPossibleHereError(ImageError):
    """This machine lacks something: root, a program, disk space, or the right processor."""


class CommandFailedError(ImageError):
    """A program that we started failed or ran out of time; the message ends with the last lines that it said."""
