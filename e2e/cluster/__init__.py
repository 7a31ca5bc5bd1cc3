"""Real Kubernetes clusters for tests, benchmarks and the demo."""
