"""The comparison: every method under the same folds, and what it adds up to."""
