"""Our scaling beside other autoscalers, in the simulator."""
