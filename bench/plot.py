"""A result as a picture that can be read on a phone."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from bench.report import number_text
from bench.result import Bars, Lines

_OURS: Final = ("#1769c2", "#7fb2ea", "#0b3d75", "#4a90d9")
_LIMITS: Final = ("#8c8c8c", "#bdbdbd", "#5c5c5c")
_PEERS: Final = ("#d9822b", "#f0b67a", "#9c5410", "#c9a227")
_WIDTH: Final = 7.0  # inches
_DPI: Final = 130
_BAR_HEIGHT: Final = 0.42
_LINES_HEIGHT: Final = 4.2
_LABEL_POINTS: Final = 11
_POINTS_AN_INCH: Final = 72


def draw(plots: Sequence[Bars | Lines], caption: str, file: Path) -> None:
    """Write the plots, one below the other, as a PNG."""
    # here, because it is heavy and needed for nothing else
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plt.rcParams.update({"font.size": 11, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left"})
    heights = [_height(plot) for plot in plots]
    figure, axes = plt.subplots(
        len(plots), 1, figsize=(_WIDTH, sum(heights) + 0.3), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axis, plot in zip(axes[:, 0], plots, strict=True):
        axis.set_title(plot.title)
        axis.spines[["top", "right"]].set_visible(False)
        if isinstance(plot, Bars):
            _draw_bars(axis, plot)
        else:
            _draw_lines(axis, plot)
    figure.supxlabel(caption, fontsize=8, color="#666666")
    # without the date and the version of matplotlib, so that the same figures give the same bytes
    figure.savefig(file, dpi=_DPI, metadata={"Software": None})
    plt.close(figure)


def colours(labels: Sequence[str]) -> list[str]:
    """Give each label a colour: shades of one for mediamirror, of grey for limits and floors, of another for peers."""
    shades = {id(palette): count() for palette in (_OURS, _LIMITS, _PEERS)}
    palettes = [_palette(label) for label in labels]
    return [palette[next(shades[id(palette)]) % len(palette)] for palette in palettes]


def _palette(label: str) -> Sequence[str]:
    lowered = label.lower()
    if lowered.startswith("mediamirror"):
        return _OURS
    return _LIMITS if lowered.startswith(("limit", "floor")) else _PEERS


def _height(plot: Bars | Lines) -> float:
    return 1.0 + _BAR_HEIGHT * len(plot.bars) if isinstance(plot, Bars) else _LINES_HEIGHT


def _draw_bars(axis: Any, plot: Bars) -> None:  # noqa: ANN401  # matplotlib may be missing where types are checked
    labels = [label for label, _ in plot.bars]
    # bars alike in kind are told apart by their labels, so one shade will do
    kinds = [_palette(label)[0] for label in labels]
    drawn = axis.barh(range(len(labels)), [value for _, value in plot.bars], color=kinds, height=0.7)
    axis.bar_label(drawn, labels=[number_text(value) for _, value in plot.bars], padding=4)
    axis.set_yticks(range(len(labels)), labels=labels)
    axis.invert_yaxis()
    axis.set_xlabel(plot.unit)
    axis.margins(x=0.15)
    axis.set_xlim(left=0)
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _draw_lines(axis: Any, plot: Lines) -> None:  # noqa: ANN401
    for (label, points), colour in zip(plot.lines.items(), colours(list(plot.lines)), strict=True):
        axis.plot([x for x, _ in points], [y for _, y in points], color=colour, marker="o", markersize=4, label=label)
    if plot.log:
        axis.set_xscale("log")
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.margins(x=0.12)
    _label_ends(axis, plot)
    axis.set_xlabel(plot.x)
    axis.set_ylabel(plot.y)
    axis.grid(visible=True, color="#e6e6e6")
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=9)


def _label_ends(axis: Any, plot: Lines) -> None:  # noqa: ANN401
    """Write the last value of each line beside its end, those that would overlap one above the other."""
    lowest = float("-inf")
    for x, y in sorted((points[-1] for points in plot.lines.values() if points), key=lambda point: point[1]):
        points_of_height = axis.transData.transform((x, y))[1] * _POINTS_AN_INCH / axis.figure.dpi
        lowest = max(points_of_height, lowest + _LABEL_POINTS)
        offset = (6, lowest - points_of_height)
        axis.annotate(number_text(y), (x, y), xytext=offset, textcoords="offset points", va="center", fontsize=9)
