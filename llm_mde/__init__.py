"""LLM-MDE: a language model reads image tokens and a prompt, and depth comes out in meters."""
