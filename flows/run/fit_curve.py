"""The picture of what a setting was chosen by."""

from __future__ import annotations

from pathlib import Path

from flows.reports.drawing import blank_figure
from segmentation.segmenter import FitCurve


def draw_curve(curve: FitCurve, target: Path) -> None:
    """Draw how each value was judged as a PNG, the one that was taken marked."""
    from matplotlib.ticker import MaxNLocator

    figure = blank_figure(6.0, 3.6)
    axes = figure.subplots()
    values, judged = zip(*curve.points, strict=True)
    axes.plot(values, judged, color="#1f6f8b", marker="o", markersize=4)
    axes.axvline(curve.choice, color="#b3541e", linewidth=1.2, label=f"taken: {curve.choice:g}")
    axes.set(xlabel=curve.setting, ylabel=curve.judged)
    axes.xaxis.set_major_locator(
        MaxNLocator(integer=all(map(float.is_integer, map(float, values))))
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")
