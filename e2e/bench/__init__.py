"""Benchmarks. Each is one make target that prints a table and writes JSON; see docs/reference/benchmarks.md."""
