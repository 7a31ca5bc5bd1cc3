"""Which revision serves, and how the next one takes its place. Pure."""
