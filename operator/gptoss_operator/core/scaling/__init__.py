"""How many replicas there should be. Pure: the operator and the simulator call the same functions."""
