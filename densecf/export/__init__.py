"""Weights of a run in the form that other libraries read, each with a model card."""
