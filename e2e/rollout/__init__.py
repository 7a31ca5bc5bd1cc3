"""What rollouts are measured by: the API server's audit log, and the answers that clients got."""
