"""What runs inside the pods: the model server's supervisor, and what it shares with the operator."""
