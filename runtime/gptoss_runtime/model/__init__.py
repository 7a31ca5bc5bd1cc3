"""What is known of gpt-oss, and of the GPUs that it runs on. Pure, standard library only; shared with the operator."""
