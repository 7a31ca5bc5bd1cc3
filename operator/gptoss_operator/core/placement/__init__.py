"""Which kind of machine each replica is on, and which replica leaves. Pure: the simulator calls the same functions."""
