"""`make bench-runtime`: gptoss-server over real vLLM beside vLLM alone, and against its own bars."""
