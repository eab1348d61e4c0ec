"""PadChest: see ``mappings/padchest.yaml``. Nothing in it is beyond a mapping."""

from densecf.data.readers.published import PublishedDataset

PADCHEST = PublishedDataset("padchest", "PadChest", "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv(.gz)")
