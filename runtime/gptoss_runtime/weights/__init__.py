"""`gptoss-fetch`: brings a model's weights into a directory, once, whole and checked."""
