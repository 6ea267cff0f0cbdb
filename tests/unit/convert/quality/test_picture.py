"""What a person would look for in the picture: sides, outlines, proportions."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.colors import to_rgb

from nnunet_mgcl.convert.quality import picture as quality_picture
from nnunet_mgcl.convert.quality.picture import draw_case

matplotlib.use("Agg")

SHAPE, SPACING = (12, 48, 40), (4.0, 4.0, 12.0)


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """`(Z, Y, X)`; `centre` x, y, z and radius in mm from the middle, to the patient's left, back and top."""
    middle = (np.array(SHAPE) - 1) / 2
    places = (np.indices(SHAPE).T - middle) * SPACING[::-1]
    return (np.linalg.norm(places - centre[::-1], axis=-1) <= radius).T


HEAD = 100 * ball((0, 0, 0), 70).astype(np.float32)
SPOT = ball((40, -30, 25), 12)
"""To the patient's left, in front, and high."""


def image(values: np.ndarray) -> sitk.Image:
    result = sitk.GetImageFromArray(values)
    result.SetSpacing(SPACING)
    result.SetOrigin((-80.0, -90.0, -60.0))
    return result


def stored(image: sitk.Image, orientation: str) -> sitk.Image:
    return sitk.DICOMOrient(image, orientation)


@pytest.fixture
def draw(tmp_path):
    """Draws and returns the picture, `(height, width, 3)` in [0, 1]."""

    def call(images, masks=None, reference=None) -> np.ndarray:
        path = tmp_path / "case.png"
        draw_case(path, images, masks or {}, reference=reference, title="case")
        return matplotlib.image.imread(path)[..., :3]

    return call


def test_dollars_in_names_are_dollars(draw) -> None:
    assert draw({"$\\bad$": image(HEAD)}, {"$\\bad$": image(SPOT.astype(np.uint8))}).shape[0] > 100


def like(picture: np.ndarray, colour: str) -> np.ndarray:
    """Pixels of about this colour."""
    return np.abs(picture - to_rgb(colour)).max(axis=-1) < 0.15


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """The rows of a picture of one column: what is between white lines, the title and the legend left out."""
    width = picture.shape[1]
    dark = (picture[:, width // 40 : width // 20].mean(axis=(1, 2)) < 0.9).astype(int)  # beside the head
    ends = np.flatnonzero(np.diff(np.concatenate([[0], dark, [0]])))
    rows = [picture[start:stop] for start, stop in ends.reshape(-1, 2)]
    return [row for row in rows if len(row) > 60]


def place(panel: np.ndarray, colour: str) -> tuple[float, float]:
    """Mean height and width of a colour in a panel, 0 to 1 from its top and left."""
    found = np.argwhere(like(panel, colour))
    assert len(found)
    height, width = found.mean(axis=0) / panel.shape[:2]
    return height, width


def test_the_patients_left_is_right_in_the_picture_and_their_front_and_top_are_up(draw):
    axial, _, coronal, sagittal = panels(draw({"DWI": image(HEAD)}, {"": image(SPOT.astype(np.uint8))}))
    colour = quality_picture.MASK_COLOURS[0]
    assert place(axial, colour)[0] < 0.45 and place(axial, colour)[1] > 0.6
    assert place(coronal, colour)[0] < 0.45 and place(coronal, colour)[1] > 0.6
    assert place(sagittal, colour)[0] < 0.45 and place(sagittal, colour)[1] < 0.45


@pytest.mark.parametrize("orientation", ["RAS", "PIL", "ASR", "LPI"])
def test_the_order_in_which_a_scan_is_stored_does_not_show(draw, orientation):
    images = {"DWI": image(HEAD + 50 * SPOT), "FLAIR": image(HEAD)}
    masks = {"": image(SPOT.astype(np.uint8))}
    turned = ({name: stored(i, orientation) for name, i in group.items()} for group in (images, masks))
    np.testing.assert_allclose(draw(*turned), draw(images, masks), atol=0.02)


def test_pixels_are_as_high_as_they_are_wide_in_mm(draw):
    for panel in panels(draw({"DWI": image(HEAD)}))[::2]:  # the axial and the coronal cut through the middle of a ball
        bright = panel[:, 10:-10].mean(axis=-1) > 0.5
        above_the_letters = bright[int(0.4 * len(bright)) : int(0.46 * len(bright))]
        assert bright.sum(axis=0).max() == pytest.approx(above_the_letters.sum(axis=1).max(), rel=0.12)


def test_the_references_edges_are_on_the_other_channels_only(draw):
    picture = draw({"DWI": image(HEAD), "FLAIR": image(np.roll(HEAD, 5, axis=2))}, reference="FLAIR")
    yellow = like(picture[: -picture.shape[0] // 20], quality_picture.EDGE_COLOUR)  # without the legend
    left, right = np.array_split(yellow, 2, axis=1)
    assert left.sum() > 100
    assert right.sum() == 0


def test_edges_show_where_the_reference_is_not_where_the_channel_is(draw):
    moved = np.roll(HEAD, 5, axis=2)
    fits, misses = (draw({"A": image(HEAD), "B": image(other)}, reference="A") for other in (HEAD, moved))

    def on_an_edge(picture: np.ndarray) -> float:
        """The share of yellow pixels with both dark and bright ones near."""
        grey = np.where(like(picture, quality_picture.EDGE_COLOUR), np.nan, picture.mean(axis=-1))
        spots = [s for s in np.argwhere(np.isnan(grey)) if s[0] < 0.9 * len(picture)]
        near = [grey[max(y - 8, 0) : y + 9, max(x - 8, 0) : x + 9] for y, x in spots]
        return float(np.mean([np.nanmin(part) < 0.2 and np.nanmax(part) > 0.6 for part in near]))

    assert on_an_edge(fits) > 0.9
    assert on_an_edge(misses) < 0.8


def test_channels_on_grids_of_their_own_get_no_edges(draw):
    other = image(HEAD[:, ::2])
    picture = draw({"DWI": image(HEAD), "FLAIR": other})
    assert not like(picture, quality_picture.EDGE_COLOUR).any()


def test_every_modality_has_its_own_colour(draw):
    away = ball((-40, 30, 20), 12)
    picture = draw({"DWI": image(HEAD)}, {"DWI": image(SPOT.astype(np.uint8)), "PWI": image(away.astype(np.uint8))})
    axial = panels(picture)[0]
    assert place(axial, quality_picture.MASK_COLOURS[0])[1] > 0.6
    assert place(axial, quality_picture.MASK_COLOURS[1])[1] < 0.4


def test_a_few_hot_voxels_do_not_make_the_head_dark(draw):
    hot = HEAD.copy()
    hot[6, 20:24, 20:24] = 1e5
    assert panels(draw({"DWI": image(hot)}))[0].mean() > 0.3


@pytest.mark.parametrize("values", [np.zeros(SHAPE, np.float32), HEAD[:1], HEAD[:, :1]], ids=["empty", "slice", "line"])
def test_odd_scans_are_drawn_all_the_same(draw, values):
    empty = image(np.zeros(values.shape, np.uint8))
    assert draw({"DWI": image(values), "ADC": image(values)}, {"": empty}).size
