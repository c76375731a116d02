"""What the networks are built of: encoders, decoders and layers."""
