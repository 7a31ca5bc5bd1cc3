"""Requests that wait while no replica is ready."""
