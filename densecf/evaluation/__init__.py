"""Figures from arrays and tables: segmentations, embeddings, probes; folds summed up and compared."""
