"""A patient's TSS on a scale from 0 to 1."""

from __future__ import annotations

from matplotlib.figure import Figure

from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import BLUE, GREY, VERMILION, WIDTH, figure_style
from nnunet_mgcl.report.page.wording import METHODS
from nnunet_mgcl.report.patient.files import Patient, PatientTSS

TITLE = "Time since stroke (TSS)"
CLASSES = ("TSS < 4.5 h", "TSS ≥ 4.5 h")


def tss_section(patient: Patient) -> Section:
    """The probability of TSS < 4.5 h with that of every fold, or why there is none."""
    tss = patient.tss
    truth = [f"The true TSS: {tss.truth}."] if tss.truth else []
    if tss.probability is None:
        return Section(TITLE, (f"No probability: {tss.reason}.", *truth))
    sentence = in_words(tss)
    caption = "The probability of TSS < 4.5 h. "
    if tss.calibration:
        caption += "Right of the dashed line, at 0.5, it is the likelier answer."
    else:
        caption += "The dashed line, at 0.5, is the threshold of predicted_class; this probability is not calibrated."
    if tss.calibration and len(tss.folds) > 1:
        caption += " Each fold's is calibrated as the mean is; the square is the mean of the raw ones."
    picture = Picture(f"case_{patient.case}_tss", _scale(tss), caption, sentence)
    return Section(TITLE, (sentence, _calibration(tss), *truth), pictures=(picture,))


def in_words(tss: PatientTSS) -> str:
    """The result in one sentence."""
    values = sorted(tss.folds.values())
    if len(values) > 1:
        spread = f"{len(values)} folds: {values[0]:.2f} to {values[-1]:.2f}"
    elif tss.calibration and not values:
        spread = "each fold's cannot be calibrated: no plans.json has the map"
    else:
        spread = f"fold {', '.join(tss.folds)} alone, so no spread" if values else "no fold's own is written"
    return f"TSS < 4.5 h with {'calibrated ' * bool(tss.calibration)}probability {tss.probability:.2f} ({spread})."


def _calibration(tss: PatientTSS) -> str:
    if not tss.calibration:
        return f"It is uncalibrated: the network's own probability{tss.reason and '; '}{tss.reason}."
    how = f"by {METHODS[tss.calibration]}" if tss.calibration in METHODS else tss.calibration
    assert tss.raw is not None and tss.probability is not None
    text = f"It is calibrated {how}; the network's own (raw) probability is {tss.raw:.2f}."
    if (tss.raw >= 0.5) == (tss.probability >= 0.5):
        return text
    calibrated, raw = CLASSES if tss.probability >= 0.5 else CLASSES[::-1]
    return f"{text} They call different classes: the calibrated one {calibrated}, the raw one {raw}."


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
