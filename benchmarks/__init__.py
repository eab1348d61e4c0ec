"""What the numbers in the documentation come from; each prints ratios against a named alternative, one run."""
