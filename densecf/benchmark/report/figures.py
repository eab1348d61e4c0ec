"""Charts of a comparison; each comes with the table that it was drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from densecf.benchmark.report.drawing import (
    LINE,
    NORMAL,
    SMALL,
    WIDTH,
    Chart,
    label_ends,
    label_points,
    panels,
    style_of,
    tidy,
)
from densecf.benchmark.results import RowResult
from densecf.benchmark.statistics import Order
from densecf.evaluation.selection import ALL
from densecf.visualization.ink import INK, SOFT

# What the pretraining's log holds, how it is called, and whether it is set against the chance level of its own row.
_TRAINING = {
    "loss": "loss minus that of chance",
    "purity": "k-means purity of pixels",
    "probe_dsc": "linear pixel probe, DSC (%)",
}


def pretraining_curves(rows: Sequence[RowResult]) -> Chart | None:
    """What was watched during pretraining, a line a row, averaged over seeds; None when nothing was.

    Methods train for different numbers of steps: across is the share of the training that is over.
    """
    tables = []
    for row in rows:
        for result in row.cells:
            for name, points in _watched(result.training).items():
                share = 100 * (points["step"] + 1) / (result.training["step"].max() + 1)
                points = points.assign(row=row.name, method=row.method, views=row.views, seed=result.cell.seed)
                tables.append(points.assign(quantity=name, share=share))
    if not tables:
        return None
    data = pd.concat(tables, ignore_index=True)[
        ["row", "method", "views", "seed", "quantity", "step", "share", "value"]
    ]
    quantities = [name for name in _TRAINING if name in set(data["quantity"])]
    figure, grid = panels(len(quantities), across=2, height=3.1)
    for axes, quantity in zip(grid, quantities, strict=True):
        ends = []
        for title, part in data[data["quantity"] == quantity].groupby("row", sort=False):
            line = part.groupby("step", as_index=False)[["share", "value"]].mean()
            name, look = str(title), style_of(str(title), str(part["method"].iloc[0]))
            axes.plot(line["share"], line["value"], color=look.colour, linestyle=look.dashes, linewidth=1.5)
            ends.append((float(line["value"].iloc[-1]), name, look.colour))
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the pretraining (%)", fontsize=SMALL, color=SOFT)
        axes.set_title(_TRAINING[quantity], fontsize=NORMAL, color=INK, loc="left")
        if quantity == "loss":
            axes.axhline(0, color=SOFT, linewidth=0.8, linestyle=":")
        label_ends(axes, ends)
    return Chart(figure, data)


def finetuning_curves(rows: Sequence[RowResult], baseline: str) -> Chart | None:
    """DSC of the held-out cases against epoch: a panel a row with its mean and standard deviation over folds, the
    other rows' means in grey, and the baseline's in black dots; None without looks."""
    tables = []
    for row in rows:
        curves = row.curves
        if curves.empty:
            continue
        looks = curves[curves["subset"] == ALL].groupby("epoch", as_index=False)["dsc"]
        means = looks.agg(mean="mean", std=lambda values: values.std(ddof=0), folds="count")
        tables.append(means.assign(row=row.name, method=row.method))
    if not tables:
        return None
    data = pd.concat(tables, ignore_index=True)[["row", "method", "epoch", "mean", "std", "folds"]]
    names = list(dict.fromkeys(data["row"]))
    figure, grid = panels(len(names), across=3, height=1.9)
    low = float((data["mean"] - data["std"]).min())
    high = float((data["mean"] + data["std"]).max())
    for number, (axes, name) in enumerate(zip(grid, names, strict=True)):
        for other, part in data.groupby("row", sort=False):
            if other not in (name, baseline):
                axes.plot(part["epoch"], part["mean"], color="#c9ced6", linewidth=0.8)
        own = data[data["row"] == name]
        look = style_of(name, str(own["method"].iloc[0]))
        if baseline in names and name != baseline:
            first = data[data["row"] == baseline]
            axes.plot(first["epoch"], first["mean"], color=INK, linewidth=1.1, linestyle=":")
        axes.fill_between(
            own["epoch"], own["mean"] - own["std"], own["mean"] + own["std"], color=look.colour, alpha=0.2, linewidth=0
        )
        axes.plot(own["epoch"], own["mean"], color=look.colour, linewidth=1.8, marker=look.marker, markersize=4)
        margin = 0.05 * max(high - low, 1)
        axes.set_ylim(low - margin, min(high + margin, 100.5))
        axes.set_title(
            f"{name}: {own['mean'].iloc[-1]:.1f} %", fontsize=NORMAL, color=look.colour, loc="left", parse_math=False
        )
        if number % 3 == 0:
            axes.set_ylabel("DSC (%)", fontsize=SMALL, color=SOFT)
        if number + 3 >= len(names):
            axes.set_xlabel("epoch", fontsize=SMALL, color=SOFT)
    return Chart(figure, data)


def forest(table: pd.DataFrame, *, across: str, methods: dict[str, str] | None = None) -> Chart | None:
    """Differences with their intervals, a line each; None for an empty table.

    Args:
        table: columns label, difference, low, high; ``group`` puts a heading over lines that share it, ``note`` stands
            at the right of the line.
        across: what the horizontal axis is.
        methods: method of a label, where it is drawn in a row's colour.
    """
    table = table.dropna(subset=["difference"])
    if table.empty:
        return None
    lines: list[tuple[str, pd.Series | None]] = []
    groups = table["group"] if "group" in table else pd.Series("", index=table.index)
    for name, part in table.groupby(groups, sort=False):
        lines += [(str(name), None)] if name else []
        lines += [(str(line["label"]), line) for _, line in part.iterrows()]
    height = LINE * len(lines) + 0.85
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    axes.axvline(0, color=INK, linewidth=0.9)
    for place, (label, line) in enumerate(lines):
        if line is None:
            continue
        look = style_of(label, (methods or {}).get(label, ""))
        colour = look.colour if methods is not None else INK
        shape = look.marker if methods is not None else "o"
        low, high = float(line["low"]), float(line["high"])
        clear = low > 0 or high < 0
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [place, place], color=colour, linewidth=2.2 if clear else 1.2)
        axes.plot(line["difference"], place, marker=shape, color=colour, markersize=6.5, linestyle="")
        note = str(line["note"]) if "note" in table else ""
        text = f"{float(line['difference']):+.2f}" + (f"  {note}" if note else "")
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL, color=SOFT)
    axes.set_yticks(range(len(lines)), [label for label, _ in lines], fontsize=NORMAL, parse_math=False)
    for tick, (_, line) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_color(INK)
        tick.set_fontweight("bold" if line is None else "normal")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(across, fontsize=SMALL, color=SOFT)
    return Chart(figure, table.reset_index(drop=True))


def ablation_dots(rows: Sequence[RowResult]) -> Chart | None:
    """DSC of each method under each view code, mean and standard deviation over folds; None without rows."""
    found = []
    for row in rows:
        dsc = row.summary("last")["dsc"]
        if dsc["mean"] is not None:
            mean, std = float(dsc["mean"]), float(dsc["std"])
            found.append({"row": row.name, "method": row.method, "views": row.views, "mean": mean, "std": std})
    if not found:
        return None
    data = pd.DataFrame(found)
    codes = sorted(dict.fromkeys(data["views"]), key=lambda code: (-len(code), code))
    names = list(dict.fromkeys(data["row"]))
    figure = Figure(figsize=(WIDTH, max(2.2, (0.17 * len(names) + 0.16) * len(codes) + 0.9)), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    handles = []
    for number, name in enumerate(names):
        part = data[data["row"] == name]
        look = style_of(name, str(part["method"].iloc[0]))
        shift = 0.7 * ((number + 0.5) / len(names) - 0.5)
        places = np.array([codes.index(code) for code in part["views"]]) + shift
        axes.hlines(places, part["mean"] - part["std"], part["mean"] + part["std"], color=look.colour, linewidth=1.2)
        axes.plot(part["mean"], places, color=look.colour, marker=look.marker, markersize=6, linestyle="")
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=name))
    for place in range(1, len(codes)):
        axes.axhline(place - 0.5, color="#e5e7eb", linewidth=0.8)
    axes.set_yticks(range(len(codes)), codes, fontsize=NORMAL, color=INK)
    axes.set_ylim(len(codes) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("DSC (%), mean and standard deviation over folds", fontsize=SMALL, color=SOFT)
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=SMALL, frameon=False)
    return Chart(figure, data)


def against_paper(order: Order) -> Chart | None:
    """Our DSC against the paper's, and our ranks against theirs; None with fewer than two rows in both."""
    data = pd.DataFrame(
        {
            "row": list(order.dsc),
            "ours": list(order.dsc.values()),
            "paper": list(order.published.values()),
            "rank_ours": list(order.ranks.values()),
            "rank_paper": list(order.published_ranks.values()),
        }
    )
    if len(data) < 2:
        return None
    figure, (left, right) = panels(2, across=2, height=3.6)
    looks = [style_of(str(name)) for name in data["row"]]
    ours, paper = data["ours"].to_numpy(dtype=float), data["paper"].to_numpy(dtype=float)
    for look, x, y in zip(looks, paper, ours, strict=True):
        left.plot(x, y, marker=look.marker, color=look.colour, markersize=8, linestyle="")
    label_points(left, paper, ours, list(data["row"]), looks)
    left.set_xlabel("paper, DSC (%)", fontsize=SMALL, color=SOFT)
    left.set_title("ours, DSC (%)", fontsize=NORMAL, color=INK, loc="left")
    for look, first, second in zip(looks, data["rank_paper"], data["rank_ours"], strict=True):
        right.plot([0, 1], [first, second], marker=look.marker, color=look.colour, linewidth=1.6)
    for key, place, side in (("rank_paper", -0.06, "right"), ("rank_ours", 1.06, "left")):
        for rank in sorted(set(data[key])):
            part = data[data[key] == rank]
            names = ", ".join(part["row"])
            text = f"{names}  {rank:g}" if side == "right" else f"{rank:g}  {names}"
            colour = looks[int(part.index[0])].colour
            right.text(place, rank, text, ha=side, va="center", fontsize=SMALL, color=colour, parse_math=False)
    right.set_xlim(-0.9, 1.9)
    right.set_ylim(len(data) + 0.5, 0.5)
    right.set_xticks([0, 1], ["paper", "ours"], fontsize=SMALL)
    right.set_yticks([])
    right.set_title("rank by DSC", fontsize=NORMAL, color=INK, loc="left")
    right.grid(visible=False)
    for spine in right.spines.values():
        spine.set_visible(False)
    return Chart(figure, data)


def _watched(training: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each quantity that a log holds: step and value."""
    found = {}
    for name in _TRAINING:
        if name not in training or (name == "loss" and "chance" not in training):
            continue
        values = training["loss"] - training["chance"] if name == "loss" else training[name]
        points = pd.DataFrame({"step": training["step"], "value": values}).dropna()
        if len(points):
            found[name] = points
    return found
