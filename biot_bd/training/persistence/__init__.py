"""Saved pipelines: folders of JSON and safetensors, never a pickle."""
