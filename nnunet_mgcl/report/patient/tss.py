"""A patient's TSS on a scale from 0 to 1."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import BLUE, GREY, VERMILION, WIDTH, figure_style
from nnunet_mgcl.report.patient.files import Patient, PatientTSS

TITLE = "Time since stroke (TSS)"
CLASSES = ("TSS < 4.5 h", "TSS ≥ 4.5 h")


def tss_section(patient: Patient) -> Section:
    """The probability of TSS < 4.5 h with that of every fold, or why there is none."""
    tss = patient.tss
    words: dict[str, Any] = {"tss": tss, "CLASSES": CLASSES}
    if tss.probability is None:
        return Section.of(TITLE, "patient/words/tss", **words)
    picture = Picture.of(f"case_{patient.case}_tss", _scale(tss), "patient/words/tss_scale", tss=tss)
    return Section.of(TITLE, "patient/words/tss", pictures=[picture], sentence=picture.alt, **words)


def _scale(tss: PatientTSS) -> Figure:
    """A row a fold, then a row for their mean, all on one scale; the raw mean below, where that is another."""
    name = "model" if len(tss.folds) == 1 else "mean"
    assert tss.raw is not None and tss.probability is not None
    rows = [(f"fold {fold}", value, "o", BLUE) for fold, value in tss.folds.items()] if len(tss.folds) > 1 else []
    rows += [(f"{name}, calibrated", tss.probability, "D", VERMILION)] if tss.calibration else []
    rows.append((f"{name}, raw", tss.raw, "s", GREY))
    with figure_style():
        figure = Figure(figsize=(WIDTH * 0.7, 0.24 * len(rows) + 0.85))
        axis = figure.add_subplot(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="probability of TSS < 4.5 h")
        for row, (_, value, marker, colour) in enumerate(rows):
            axis.plot(value, row, marker, color=colour, markersize=6 if marker == "o" else 9, clip_on=False)
            if marker != "o":
                offset, side = (9, "left") if value < 0.85 else (-9, "right")
                axis.annotate(f"{value:.2f}", (value, row), (offset, 0), textcoords="offset points", ha=side,
                              va="center", weight="bold",
                              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        axis.axvline(0.5, color="black", linestyle="--", linewidth=0.8)
        axis.set_yticks(range(len(rows)), [row[0] for row in rows])
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
        axis.set_title(CLASSES[0], loc="right", fontsize="small")
        axis.set_title(CLASSES[1], loc="left", fontsize="small")
    return figure
