"""A whole gateway on the loopback interface: the real HAProxy and activator, without a cluster."""
