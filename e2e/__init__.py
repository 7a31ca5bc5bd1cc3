"""End-to-end: clusters of this project's own, the images that run in them, and the scenarios."""
