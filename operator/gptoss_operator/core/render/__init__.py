"""Manifests of everything that belongs to a GptOssDeployment. Pure; equal input gives equal output, byte for byte."""
