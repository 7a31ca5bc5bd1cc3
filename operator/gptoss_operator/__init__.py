"""The gpt-oss operator: from a GptOssDeployment to pods that answer."""
