"""What a MONAI bundle does to an image, against the profiles that it stands for."""

import numpy as np
import pytest
import torch
from PIL import Image

from densecf.data.profiles import PROFILES, load_image
from densecf.export.bundle_preparation import image_files, prepare, restore


def blocks(height: int, width: int) -> np.ndarray:
    """Large shapes, (height, width) uint8."""
    coarse = np.random.default_rng(1).integers(0, 256, (7, 7), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def bordered() -> np.ndarray:
    image = blocks(150, 121)
    image[:20], image[:, -15:] = 0, 255
    return image


IMAGES = {
    "tall, odd": blocks(90, 41),
    "borders": bordered(),
    "16 bit": blocks(64, 80).astype(np.uint16) * 200 + 7,
    "many pixels": blocks(2100, 1000),
    "stripes": np.repeat(np.arange(80, dtype=np.uint8)[:, None] * 3, 70, axis=1),
    "few bright": np.pad(np.full((1, 2), 200, np.uint8), 40),
}


@pytest.mark.parametrize("profile", [*PROFILES])
@pytest.mark.parametrize("name", [*IMAGES])
def test_images_are_prepared_as_by_the_profile(name, profile, tmp_path):
    Image.fromarray(IMAGES[name]).save(tmp_path / "image.png")
    wanted, _ = load_image(tmp_path / "image.png", 64, profile)
    found = prepare(torch.from_numpy(IMAGES[name].astype(np.float32))[None], 64, profile)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found[0], torch.from_numpy(wanted), rtol=0, atol=1e-5)


@pytest.mark.parametrize("profile", [*PROFILES])
@pytest.mark.parametrize("shape", [(90, 41), (200, 310)])
def test_scores_come_back_to_their_places(shape, profile):
    """The place of every pixel, prepared by the affine and restored, is its place again."""
    affine = PROFILES[profile].affine(*shape, 64)
    rows, columns = np.meshgrid(*(affine[a, a] * np.arange(64) + affine[a, 2] for a in (0, 1)), indexing="ij")
    scores = torch.from_numpy(np.stack([rows, columns, np.ones((64, 64))])).float()
    again = restore(scores, *shape, profile).numpy()
    seen = again[2] > 0
    assert again[2][seen] == pytest.approx(1, abs=1e-5)
    assert again[:, ~seen].sum() == 0
    assert seen.all() == (profile != "authors")
    # Half a prepared pixel at the borders of the square has no pixel behind it.
    middle = np.s_[4:-4, 4:-4] if profile != "authors" else np.s_[shape[0] // 2, shape[1] // 2 : shape[1] // 2 + 5]
    for place, axis in zip(again, np.indices(shape), strict=False):
        np.testing.assert_allclose(place[middle], axis[middle], atol=0.1)


def test_an_image_without_a_positive_value_cannot_be_divided_by_its_maximum():
    with pytest.raises(ValueError, match="no value is above zero"):
        prepare(torch.zeros(1, 32, 32), 16, "authors")


def test_images_that_would_share_a_mask_are_refused(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert image_files(str(tmp_path)) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.PNG")]
    (tmp_path / "b.tif").touch()
    with pytest.raises(ValueError, match=r"b\.PNG and b\.tif would share the mask b_mask\.png"):
        image_files(str(tmp_path))


def test_a_folder_without_images_is_told(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        image_files(str(tmp_path / "images"))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="holds no image"):
        image_files(str(tmp_path))
