"""Rows as CheXmask has them: made-up landmarks, and the filled polygons as run lengths."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from densecf.data.chexmask.rows import POINTS
from densecf.data.run_lengths import encode

HEADER = (
    "ImageID",
    "Dice RCA (Mean)",
    "Dice RCA (Max)",
    "Landmarks",
    "Left Lung",
    "Right Lung",
    "Heart",
    "Height",
    "Width",
)


def ellipse(x: float, y: float, half_width: float, half_height: float, points: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)


def landmarks(height: int = 1024, width: int = 1024) -> np.ndarray:
    """(120, 2) integer x and y: right lung, left lung and heart, filling most of the field."""
    organs = [ellipse(0.3, 0.5, 0.15, 0.32, 44), ellipse(0.72, 0.52, 0.16, 0.3, 50), ellipse(0.55, 0.62, 0.12, 0.1, 26)]
    return np.round(np.concatenate(organs) * [width, height]).astype(int)


def polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) booleans, outline included; what leaves the canvas is cut off."""
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points.tolist()], fill=1)
    return np.asarray(canvas)


def cells(image: str = "a.png", height: int = 1024, width: int = 1024, points: np.ndarray | None = None) -> dict:
    """One right row, drawn on (height, width)."""
    points = landmarks(height, width) if points is None else points
    masks = {organ: encode(polygon(points[POINTS[organ]], height, width)) for organ in POINTS}
    return {
        "ImageID": image,
        "Dice RCA (Mean)": 0.8,
        "Dice RCA (Max)": 0.9,
        "Landmarks": ",".join(map(str, points.ravel())),
        "Left Lung": masks["left_lung"],
        "Right Lung": masks["right_lung"],
        "Heart": masks["heart"],
        "Height": height,
        "Width": width,
    }


def save_rows(path: Path, *rows: dict, header=HEADER, **options) -> Path:
    """Write rows as CSV; ``options`` go to `csv.writer`."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerow(header)
        writer.writerows([row[name] for name in header] for row in rows)
    return path
