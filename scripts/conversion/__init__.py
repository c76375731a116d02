"""The networks that published checkpoints hold."""
