"""The report's figures as files of their own, the same bytes every time."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.progress import track

from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import figure_style
from nnunet_mgcl.system.files import remove_leftovers_of, replacing

DPI = 200


def write_pictures(folder: Path, sections: Sequence[Section]) -> dict[str, str]:
    """Writes `figures/<name>.png` of every picture and, of a drawing, `.svg`.

    Args:
        folder: The report's folder.
        sections: The sections whose pictures are written.

    Returns:
        By name what a page embeds, as a `data:` URI: the SVG file of a drawing, else the PNG file.

    Raises:
        ValueError: Two pictures have one name.
    """
    pictures = [picture for section in sections for picture in section.pictures]
    names = [picture.name for picture in pictures]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"pictures of one name: {sorted(twice)}")
    return {picture.name: _write(folder / "figures", picture) for picture in track(pictures, "Figures", transient=True)}


def remove_pictures(folder: Path, names: Iterable[str]) -> None:
    """Removes pictures that `write_pictures` wrote."""
    for name in names:
        for ending in ("png", "svg"):
            (folder / "figures" / f"{Path(name).name}.{ending}").unlink(missing_ok=True)


def _write(folder: Path, picture: Picture) -> str:
    """Writes one picture; returns its `data:` URI."""
    png = _save(folder / f"{picture.name}.png", picture, {"Software": None})
    if not picture.drawing:
        return f"data:image/png;base64,{b64encode(png).decode()}"
    svg = _save(folder / f"{picture.name}.svg", picture, {"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def _save(path: Path, picture: Picture, metadata: dict[str, None]) -> bytes:
    """Saves without what would differ the next time: dates and versions."""
    remove_leftovers_of(path)
    with figure_style(), replacing(path) as temporary:
        picture.figure.savefig(temporary, dpi=DPI, metadata=metadata)
    return path.read_bytes()
