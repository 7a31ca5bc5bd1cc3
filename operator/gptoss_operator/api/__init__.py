"""What users write and read: the GptOssDeployment, its schema and the names derived from it."""
