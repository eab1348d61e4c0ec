"""What an image would be had a parent been another: causal models, generators, judges of both."""
