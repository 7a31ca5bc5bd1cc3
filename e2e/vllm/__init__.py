"""The server's image run on this machine as it is, without a cluster: real vLLM on CPUs with the tiny model."""
