"""Settings that all tests share."""

from hypothesis import settings


# Time is measured in benchmarks; a busy machine is no failure. The seed is fixed, so that a failure repeats.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")
