"""A real Kubernetes on a plain Linux machine: built from published Go modules, in a network namespace of its own."""
