"""The gateway's sidecar: holds requests while no replica is ready, and keeps HAProxy's keys, limits and log."""
