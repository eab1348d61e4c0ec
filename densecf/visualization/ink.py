"""The colours of words in figures."""

INK, SOFT = "#1b1f24", "#6b7280"
"""Of what is read first, and of what explains it."""
