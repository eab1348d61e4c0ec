"""From prepared datasets to weights: samples, modules, the loop, and what watches it."""
