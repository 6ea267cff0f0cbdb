from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from nnunet_mgcl.report.page.figure_files import write_pictures
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import figure_style


def make_section(*names: str, drawing: bool = True) -> Section:
    pictures = []
    for name in names:
        with figure_style():
            figure = Figure(figsize=(2, 1))
            figure.add_subplot().plot([1, 2], label="line")
            figure.legend()
        pictures.append(Picture(name, figure, "", "", drawing))
    return Section("Title", pictures=tuple(pictures))


def test_a_drawing_is_a_png_and_an_svg_file_and_is_embedded_as_svg(tmp_path) -> None:
    uris = write_pictures(tmp_path, [make_section("a")])
    kind, _, content = uris["a"].partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert b64decode(content) == (tmp_path / "figures" / "a.svg").read_bytes()
    assert Image.open(tmp_path / "figures" / "a.png").size == (400, 200)
    assert write_pictures(tmp_path, [make_section("b", drawing=False)])["b"].startswith("data:image/png;base64,")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"a.png", "a.svg", "b.png"}


def test_the_same_figures_are_the_same_bytes(tmp_path, monkeypatch) -> None:
    def written(folder: Path, epoch: str, **left: Any) -> dict[str, bytes]:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)  # what matplotlib would take for today
        with rc_context(left):  # nnU-Net's logger leaves settings
            write_pictures(folder, [make_section("a", "b")])
        return {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}

    first, second = (
        written(tmp_path / "1", "0"),
        written(tmp_path / "2", "1000000000", **{"font.size": 30, "savefig.dpi": 10}),
    )
    assert first == second and len(first) == 4
    assert not any(word in content for content in first.values() for word in (b"dc:date", b"Matplotlib v"))


def test_two_pictures_of_one_name_are_a_mistake(tmp_path) -> None:
    with pytest.raises(ValueError, match="'a'"):
        write_pictures(tmp_path, [make_section("a"), make_section("a")])


def test_dollars_in_names_are_dollars(tmp_path) -> None:
    with figure_style():
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().plot([1, 2], label="$\\bad$")
        figure.axes[0].set_title("T2$_x$")
        figure.legend()
    section = Section("Title", pictures=(Picture("a", figure, "", ""),))
    write_pictures(tmp_path, [section])  # mathtext would raise
    assert figure.axes[0].title.get_parse_math() is False


def test_what_a_killed_run_left_of_a_picture_is_removed_and_nothing_else(tmp_path) -> None:
    (tmp_path / "figures").mkdir()
    for name in (".99999.part.a.png", ".99999.part.a.svg", ".99999.part.aa.png", "mine.png"):
        (tmp_path / "figures" / name).touch()
    write_pictures(tmp_path, [make_section("a")])
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"a.png", "a.svg", ".99999.part.aa.png", "mine.png"}
