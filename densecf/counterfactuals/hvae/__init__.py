"""The hierarchical VAE."""
