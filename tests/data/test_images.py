"""Every format gives its stored values, rows first; every damaged file says which and why."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from densecf.data.images import read_image, read_mask
from densecf.data.raw_image import RawImage
from densecf.errors import DataError
from tests.data.making import save

WIDE = np.random.default_rng(0).integers(0, 65535, (30, 50)).astype(np.uint16)
NARROW = (WIDE >> 8).astype(np.uint8)


@given(arrays(np.uint16, st.tuples(st.integers(16, 24), st.integers(16, 24))))
def test_sixteen_bit_png_keeps_every_value(tmp_path_factory, pixels):
    pixels[0, :2] = 0, 65535
    path = save(tmp_path_factory.mktemp("png") / "a.png", pixels)
    np.testing.assert_array_equal(read_image(path).pixels, pixels)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("a.png", NARROW),
        ("a.png", WIDE),
        ("a.tif", NARROW),
        ("a.tif", WIDE),
        ("a.tif", WIDE.astype(np.int32) * 3 - 5),
        ("a.tif", WIDE.astype(np.float32) / 7),
        ("a.PNG", NARROW),
    ],
)
def test_values_are_kept(tmp_path, name, pixels):
    raw = read_image(save(tmp_path / name, pixels))
    assert raw.pixels.dtype == np.float32
    assert raw.pixels.shape == (30, 50)
    np.testing.assert_array_equal(raw.pixels, pixels.astype(np.float32))
    assert not raw.inverted
    assert math.isnan(raw.spacing_mm)


@pytest.mark.parametrize(
    ("name", "pixels", "white"),
    [
        ("a.png", NARROW, 255),
        ("a.jpg", NARROW, 255),
        ("a.png", np.stack([NARROW] * 3, axis=-1), 255),
        ("a.png", NARROW > 100, 1),
        ("a.png", WIDE, 65535),
        ("a.tif", WIDE, 65535),
        ("a.tif", WIDE.astype(np.int32), math.nan),
        ("a.tif", WIDE / np.float32(65535), math.nan),
    ],
)
def test_white_is_what_the_depth_allows(tmp_path, name, pixels, white):
    np.testing.assert_equal(read_image(save(tmp_path / name, pixels)).white, white)


def test_jpeg_is_close(tmp_path):
    smooth = np.add.outer(np.arange(30), np.arange(50)).astype(np.uint8) * 2
    np.testing.assert_allclose(read_image(save(tmp_path / "a.jpg", smooth)).pixels, smooth, atol=3)


def test_the_content_decides_not_the_name(tmp_path):
    path = save(tmp_path / "a.png", NARROW).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(path).pixels, NARROW)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_colour_clothes(tmp_path, mode):
    Image.fromarray(NARROW).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, NARROW)


def test_colours_become_luminance(tmp_path):
    colours = np.random.default_rng(1).integers(0, 255, (30, 50, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L"), dtype=float)
    np.testing.assert_allclose(read_image(save(tmp_path / "a.png", colours)).pixels, expected, atol=1)


def test_sixteen_bit_tiff_with_white_zero_is_known_as_inverted(tmp_path):
    data = WIDE.astype("<u2").tobytes()
    tags = [(256, 50), (257, 30), (258, 16), (259, 1), (262, 0), (273, 0), (277, 1), (278, 30), (279, len(data))]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    header = b"II" + struct.pack("<HIH", 42, 8, len(tags))
    (tmp_path / "a.tif").write_bytes(header + entries + bytes(4) + data)
    raw = read_image(tmp_path / "a.tif")
    assert raw.inverted
    np.testing.assert_array_equal(raw.pixels, WIDE)


def nifti(path, array, **header):
    import nibabel

    image = nibabel.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]))
    image.header.set_zooms((0.2, 0.3, 1.0)[: array.ndim])
    if header:
        image.header.set_xyzt_units(**header)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("shape", [(50, 30), (50, 30, 1)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_is_transposed_to_rows_first(tmp_path, shape, name):
    raw = read_image(nifti(tmp_path / name, WIDE.T.reshape(shape), xyz="mm"))
    np.testing.assert_array_equal(raw.pixels, WIDE)
    assert raw.spacing == pytest.approx((0.3, 0.2))
    assert math.isnan(raw.spacing_mm)  # rows and columns differ


def test_nifti_without_a_unit_has_no_spacing(tmp_path):
    assert math.isnan(read_image(nifti(tmp_path / "a.nii", WIDE.T)).spacing[0])


def test_a_nifti_volume_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.nii: shape \(20, 20, 3\), expected one 2-D image"):
        read_image(nifti(tmp_path / "a.nii", np.zeros((20, 20, 3), np.uint8)))


def dicom(path, pixels, photometric="MONOCHROME2", **elements):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", ["a.dcm", "no_suffix"])
def test_dicom_monochrome1_is_known_as_inverted(tmp_path, name):
    raw = read_image(dicom(tmp_path / name, WIDE, "MONOCHROME1", PixelSpacing=[0.2, 0.2]))
    assert raw.inverted
    assert raw.spacing_mm == pytest.approx(0.2)
    np.testing.assert_array_equal(raw.pixels, WIDE)


def test_dicom_rescale_then_window(tmp_path):
    path = dicom(
        tmp_path / "a.dcm",
        WIDE,
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=[40000, 1],
        WindowWidth=[20000, 1],
    )
    raw = read_image(path)
    rescaled = WIDE.astype(float) * 2 - 1000
    low, high = 40000 - 0.5 - 19999 / 2, 40000 - 0.5 + 19999 / 2  # PS3.3 C.11.2.1.2
    expected = np.clip((rescaled - low) / (high - low), 0, 1)
    scaled = (raw.pixels - raw.pixels.min()) / (raw.pixels.max() - raw.pixels.min())
    np.testing.assert_allclose(scaled, expected, atol=1e-5)
    assert raw.window == (40000, 20000)


def test_dicom_voi_lut(tmp_path):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    small = (WIDE % 256).astype(np.uint16)
    table = np.arange(256)[::-1] ** 2
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [256, 0, 16], table.astype("<u2").tobytes()
    raw = read_image(dicom(tmp_path / "a.dcm", small, VOILUTSequence=Sequence([lut])))
    np.testing.assert_array_equal(raw.pixels, table[small])


def test_a_dicom_window_that_hides_everything_is_ignored(tmp_path):
    raw = read_image(dicom(tmp_path / "a.dcm", WIDE, WindowCenter=-900000, WindowWidth=10))
    np.testing.assert_array_equal(raw.pixels, WIDE)
    assert raw.window is None


def test_detector_spacing_is_divided_by_the_magnification(tmp_path):
    path = dicom(
        tmp_path / "a.dcm", WIDE, ImagerPixelSpacing=[0.2, 0.2], EstimatedRadiographicMagnificationFactor="1.25"
    )
    assert read_image(path).spacing_mm == pytest.approx(0.16)


def test_dicom_with_several_frames_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.dcm: this DICOM file holds 2 frames"):
        read_image(dicom(tmp_path / "a.dcm", np.stack([WIDE, WIDE]), NumberOfFrames=2))


def test_colour_dicom_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.dcm: DICOM RGB, expected a grey image"):
        read_image(dicom(tmp_path / "a.dcm", WIDE, "RGB"))


def test_dicom_without_an_image_is_refused(tmp_path):
    import pydicom

    path = dicom(tmp_path / "a.dcm", WIDE)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(DataError, match="holds no image"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.dcm", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_truncated_files(tmp_path, name, part):
    path = tmp_path / name
    if name.endswith(".dcm"):
        dicom(path, WIDE)
    elif ".nii" in name:
        nifti(path, WIDE.T)
    else:
        save(path, NARROW)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataError, match=name):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.nii"])
@pytest.mark.parametrize(("content", "message"), [(b"", "0 bytes"), (b"no image at all" * 50, "a\\.")])
def test_files_that_are_no_images(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / name)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((20, 20), 7, np.uint8), "constant .every pixel is 7"),
        (np.eye(15, 40, dtype=np.uint8), "15 x 40 px .* too small, at least 16"),
        (np.where(np.eye(20) > 0, np.nan, 1).astype(np.float32), "NaN or infinite"),
        (np.where(np.eye(20) > 0, np.inf, 1).astype(np.float32), "NaN or infinite"),
    ],
)
def test_images_that_cannot_be_used(tmp_path, pixels, message):
    with pytest.raises(DataError, match=message):
        read_image(save(tmp_path / "a.tif", pixels))


def test_several_pages_are_refused(tmp_path):
    Image.fromarray(NARROW).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(NARROW)])
    with pytest.raises(DataError, match="holds 2 images, expected one"):
        read_image(tmp_path / "a.tif")


def test_other_formats_are_named(tmp_path):
    Image.fromarray(NARROW).save(tmp_path / "a.bmp")
    with pytest.raises(DataError, match="not a PNG, JPEG, TIFF, DICOM"):
        read_image(tmp_path / "a.bmp")


@pytest.mark.parametrize("limit", [1400, 700])
def test_decompression_bombs_are_refused(tmp_path, monkeypatch, recwarn, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"(?s)a\.png.*limit"):
        read_image(save(tmp_path / "a.png", NARROW))
    assert not recwarn.list


def test_masks_may_be_constant_and_palettes_give_indices(tmp_path):
    assert read_mask(save(tmp_path / "a.png", np.zeros((20, 20), np.uint8))).max() == 0
    labels = np.arange(400).reshape(20, 20) % 3
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), labels)


def test_pixels_in_three_dimensions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("densecf.data.images.read_dicom", lambda path, source: RawImage(np.zeros((2, 20, 24))))
    (tmp_path / "a.dcm").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.dcm: pixels of shape \(2, 20, 24\)"):
        read_image(tmp_path / "a.dcm")
