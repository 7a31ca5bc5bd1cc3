"""Policies for the simulator: ours, which calls the functions of `core`, and others from their published laws."""
