"""Records a second through the views, against an eager MONAI chain: ``python -m benchmarks.views``.

A record is four aligned 224 x 224 images and a mask; its result is four views of 224 x 224 with masks and
affines, each rotated, cropped, resized and changed in intensity by the paper's parameters. One thread. The
contestants alternate in one process; figures are medians over rounds.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    RandGaussianSmoothd,
    RandLambdad,
    RandRotated,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandSpatialCropd,
    Resized,
)

from densecf.views import MultiView, RandomPhotometricd, RandomViewd, ViewParameters, sample_correspondences
from densecf.views.draws import view_seed

SIZE, VIEWS, ROUNDS, RECORDS = 224, 4, 7, 12
Run = Callable[[list[np.ndarray], np.ndarray, int], object]


def monai_chain(parameters: ViewParameters) -> Compose:
    """The same steps as MONAI offers them, one resample each."""
    both, image = ["image", "mask"], ["image"]
    radians = np.deg2rad(parameters.rotation)
    smallest = round(SIZE * parameters.scale[0] ** 0.5)
    sigma = parameters.blur_sigma
    steps = [
        EnsureChannelFirstd(both, channel_dim="no_channel"),
        RandRotated(both, range_x=radians, prob=1.0, mode=("bilinear", "nearest"), padding_mode="zeros"),
        RandSpatialCropd(both, roi_size=(smallest, smallest), random_size=True),
        Resized(both, spatial_size=(SIZE, SIZE), mode=("bilinear", "nearest-exact")),
        RandScaleIntensityd(image, factors=parameters.brightness, prob=parameters.jitter_prob),
        RandScaleIntensityFixedMeand(image, factors=parameters.contrast, prob=parameters.jitter_prob),
        RandGaussianSmoothd(image, sigma_x=sigma, sigma_y=sigma, prob=parameters.blur_prob),
        RandLambdad(image, func=lambda x: torch.where(x >= 0.5, 1 - x, x), prob=parameters.solarize_prob),
    ]
    return Compose(steps).set_random_state(seed=0)


def contestants() -> dict[str, Run]:
    parameters = ViewParameters()
    multiview = MultiView(SIZE, parameters)
    ours = Compose(
        [
            EnsureChannelFirstd(["image", "mask"], channel_dim="no_channel"),
            RandomViewd("image", "mask"),
            RandomPhotometricd("image", parameters),
        ]
    ).set_random_state(seed=0)
    chain = monai_chain(parameters)

    def run_multiview(images: list[np.ndarray], mask: np.ndarray, record: int) -> object:
        return multiview(images, mask, [view_seed(0, 0, record, view) for view in range(VIEWS)])

    def run_composed(transform: Compose) -> Run:
        return lambda images, mask, record: [transform({"image": image, "mask": mask}) for image in images]

    return {
        "MultiView": run_multiview,
        "RandomViewd + RandomPhotometricd": run_composed(ours),
        "eager MONAI chain": run_composed(chain),
    }


def records_per_second(runs: dict[str, Run]) -> dict[str, float]:
    numbers = np.random.default_rng(0)
    images = [numbers.random((SIZE, SIZE), dtype=np.float32) for _ in range(VIEWS)]
    mask = numbers.integers(0, 3, (SIZE, SIZE)).astype(np.uint8)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            for record in range(RECORDS):
                run(images, mask, round_ * RECORDS + record)
            if round_ > 0:  # the first round warms up
                rates[name].append(RECORDS / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def correspondence_milliseconds(records: int = 8, points: int = 1000) -> float:
    """Time to draw the points of one batch."""
    multiview, blank = MultiView(SIZE), np.zeros((SIZE, SIZE), dtype=np.float32)
    seeds = [[view_seed(0, 0, record, view) for view in range(VIEWS)] for record in range(records)]
    affines = torch.stack([multiview([blank] * VIEWS, None, seed)["affines"] for seed in seeds])
    generator = torch.Generator().manual_seed(0)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        sample_correspondences(affines, SIZE, points, generator)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def report() -> bool:
    """Prints the table; True when both bars are met."""
    torch.set_num_threads(1)
    rates = records_per_second(contestants())
    slowest = rates["eager MONAI chain"]
    print(f"{VIEWS} views of {SIZE} x {SIZE} with masks and affines, one thread\n")
    print(f"{'':<34} {'records/s':>9} {'times MONAI':>12}")
    for name, rate in rates.items():
        print(f"{name:<34} {rate:>9.1f} {rate / slowest:>12.1f}")
    print(f"\n1000 correspondences in each of 8 records: {correspondence_milliseconds():.1f} ms\n")
    rate, ratio = rates["MultiView"], rates["MultiView"] / slowest
    bars = {
        f"at least 100 records a second: {rate:.0f}": rate >= 100,
        f"at least 3 times the eager MONAI chain: {ratio:.1f}": ratio >= 3,
    }
    for bar, met in bars.items():
        print("met   " if met else "MISSED", bar)
    return all(bars.values())


if __name__ == "__main__":
    sys.exit(not report())
