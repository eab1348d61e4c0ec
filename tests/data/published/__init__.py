"""Small made-up datasets, each in its owner's own layout, file format and column names."""
