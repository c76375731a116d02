"""Questions to a trained network about words: what they say alone, and what other words change."""
