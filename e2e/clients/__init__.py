"""Load generators that people point at an OpenAI API, run in pods of the cluster as they are."""
