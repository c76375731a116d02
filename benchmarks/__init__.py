"""Benchmarks: one program per question about speed and memory (README.md)."""
