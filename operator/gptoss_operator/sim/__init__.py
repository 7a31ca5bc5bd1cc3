"""A discrete-event simulator of a deployment: requests, replicas and spot markets, under any scaling policy.

It calls the functions of `core` that the operator calls. What it prints is simulated, and says so.
"""
