"""What would fill the memory, or is damaged where nobody looks, is refused."""

import gzip
import os
import struct
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image

from densecf.data.csv_table import read_csv_table
from densecf.data.images import read_image
from densecf.data.unpacking import gunzip, inflate
from densecf.errors import DataError
from tests.data.making import radiograph, save
from tests.data.published.files import save_dicom

BOMB = gzip.compress(bytes(1 << 28))


def test_a_bomb_is_refused_and_what_is_merely_repetitive_is_not(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: unpacks to more than 64 MB"):
        gunzip(BOMB, tmp_path / "a.csv")
    with pytest.raises(DataError, match="unpacks to more than"):
        inflate(zlib.compress(bytes(1 << 28), wbits=-15), tmp_path / "a.dcm")
    assert gunzip(gzip.compress(bytes(1 << 24)), tmp_path / "a") == bytes(1 << 24)


def test_a_damaged_table_is_named(tmp_path):
    table = tmp_path / "table.csv.gz"
    packed = bytearray(gzip.compress(b"image,patient_id\n" + b"a.png,1\n" * 50))
    for place in (12, 30, len(packed) - 6):  # the stream, and its checksum
        damaged = packed.copy()
        damaged[place] ^= 0x55
        table.write_bytes(damaged)
        with pytest.raises(DataError, match=r"table\.csv\.gz: damaged"):
            read_csv_table(table)
    table.write_bytes(BOMB)
    with pytest.raises(DataError, match="bomb"):
        read_csv_table(table)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_one_flipped_bit_in_the_pixels_of_a_png_is_seen(tmp_path, share):
    path = save(tmp_path / "a.png", radiograph(0))
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(path)


def test_nifti_is_checked_and_bounded(tmp_path):
    path = tmp_path / "a.nii.gz"
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        nibabel.save(kind(radiograph(0).astype(np.int16), np.eye(4)), path)
        assert read_image(path).shape == (48, 40)
        whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8))  # the checksum
    with pytest.raises(DataError, match="damaged"):
        read_image(path)
    path.write_bytes(BOMB)
    with pytest.raises(DataError, match="bomb"):
        read_image(path)
    nibabel.save(nibabel.Nifti1Image(radiograph(0).astype(np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match="complex"):
        read_image(tmp_path / "a.nii")


def test_headers_that_claim_absurd_sizes(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 16, 0, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(DataError, match=r"a\.png.*(limit|bomb)"):
        read_image(tmp_path / "a.png")
    nifti = nibabel.Nifti1Image(radiograph(0).astype(np.int16), np.eye(4)).to_bytes()
    (tmp_path / "b.nii").write_bytes(nifti[:42] + struct.pack("<hh", 32767, 32767) + nifti[46:])
    with pytest.raises(DataError, match=r"b\.nii.*limit"):
        read_image(tmp_path / "b.nii")
    save_dicom(tmp_path / "c.dcm", np.zeros((48, 40), np.uint16) + np.arange(40, dtype=np.uint16))
    dicom = (tmp_path / "c.dcm").read_bytes()
    rows = dicom.index(b"\x28\x00\x10\x00US") + 8
    columns = dicom.index(b"\x28\x00\x11\x00US") + 8
    huge = bytearray(dicom)
    huge[rows : rows + 2] = huge[columns : columns + 2] = b"\xff\xff"
    (tmp_path / "c.dcm").write_bytes(huge)
    with pytest.raises(DataError, match=r"c\.dcm.*limit"):
        read_image(tmp_path / "c.dcm")
    tiff = save(tmp_path / "d.tif", radiograph(0)).read_bytes()
    (entry,) = [
        tiff.index(struct.pack("<HHI", 256, kind, 1)) for kind in (3, 4) if struct.pack("<HHI", 256, kind, 1) in tiff
    ]
    grown = tiff[: entry + 2] + struct.pack("<HII", 4, 0x7FFFFFFF, 8) + tiff[entry + 12 :]  # a tag of 2 G numbers
    (tmp_path / "d.tif").write_bytes(grown)
    with pytest.raises(DataError, match=r"d\.tif"):
        read_image(tmp_path / "d.tif")


def test_a_deflated_dicom_bomb(tmp_path):
    from pydicom.uid import DeflatedExplicitVRLittleEndian as Deflated

    save_dicom(tmp_path / "a.dcm", np.zeros((48, 40), np.uint16) + np.arange(40, dtype=np.uint16))
    import pydicom

    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.file_meta.TransferSyntaxUID = Deflated
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert read_image(tmp_path / "b.dcm").shape == (48, 40)
    content = (tmp_path / "b.dcm").read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    (tmp_path / "b.dcm").write_bytes(content[:start] + zlib.compress(bytes(1 << 28), wbits=-15))
    with pytest.raises(DataError, match=r"b\.dcm.*bomb"):
        read_image(tmp_path / "b.dcm")


def test_the_other_file_of_a_pair_may_not_lead_out_of_the_folder(tmp_path):
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Pair(radiograph(0).astype(np.int16), np.eye(4)), tmp_path / "in/a.hdr")
    assert read_image(tmp_path / "in/a.hdr").shape == (48, 40)
    os.rename(tmp_path / "in/a.img", tmp_path / "a.img")
    os.symlink(tmp_path / "a.img", tmp_path / "in/a.img")
    with pytest.raises(DataError, match="leads out of the folder"):
        read_image(tmp_path / "in/a.hdr")


def test_ordinary_png_files_are_read_with_what_stands_behind_them(tmp_path):
    path = save(tmp_path / "a.png", radiograph(0))
    path.write_bytes(path.read_bytes() + b"something")  # as some cameras and hiding places do
    assert np.array_equal(read_image(path).pixels, np.asarray(Image.open(path), np.float32))
