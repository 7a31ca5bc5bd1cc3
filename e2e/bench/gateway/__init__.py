"""`make bench-gateway`: the gateway beside other routers, in front of simulated replicas, and against its bars."""
