"""Pictures: CHRO-maps of pixel embeddings, overlays of segmentations."""
