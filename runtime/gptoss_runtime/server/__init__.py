"""PID 1 of a replica's pod: starts vLLM, answers for its health, drains it, and says why it ended."""
