"""HAProxy's files: pure text from the spec. Why each choice was made is in docs/concepts/gateway.md."""
