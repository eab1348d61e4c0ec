"""Networks and their weights: U-Net, backbones, heads; written, described, loaded again."""
