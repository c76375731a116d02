"""Code that exists for speed, each with the plain form that it replaces."""
