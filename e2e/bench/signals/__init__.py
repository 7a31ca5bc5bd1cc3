"""What it costs the operator to hear thousands of replicas and their gateways."""
