"""What the activator asks of HAProxy, and tells it."""
