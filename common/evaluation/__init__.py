"""Metrics, protocols, scoring and pictures of the result."""
