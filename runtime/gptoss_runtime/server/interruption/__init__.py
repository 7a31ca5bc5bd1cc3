"""What the cloud announces of this machine: who is asked (`clouds`), what, and how the answers read, and the loop."""
