"""CheXpert: see ``mappings/chexpert.yaml``. Nothing in it is beyond a mapping."""

from densecf.data.readers.published import PublishedDataset

CHEXPERT = PublishedDataset("chexpert", "CheXpert", "train.csv")
