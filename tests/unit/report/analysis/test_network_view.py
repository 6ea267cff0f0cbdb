from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnunet_mgcl.report.analysis.network_view import NetworkView

SHAPE = (4, 5, 6)
CENTRE = np.array(SHAPE[::-1]) / 2 - 0.5

AXIAL = np.eye(3)
CORONAL = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T  # columns of the direction: the array's x, y and z
SAGITTAL = np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]]).T
TILTED = np.array([[0.98, 0.17, 0.1], [-0.18, 0.97, 0.15], [-0.07, -0.17, 0.98]]).T
DIRECTIONS = {
    "axial": AXIAL,
    "flipped": np.diag([-1, 1, -1]),
    "coronal": CORONAL,
    "sagittal": SAGITTAL,
    "tilted": TILTED,
}
"""In LPS."""


def read(direction: np.ndarray, shape: tuple[int, ...] = SHAPE) -> tuple[dict[str, np.ndarray], dict]:
    """Where each voxel `(Z, Y, X)` of an image is, towards the patient's left, back and top; and its properties."""
    z, y, x = np.indices(shape)
    offsets = np.stack([x, y, z], axis=-1) - (np.array(shape[::-1]) - 1) / 2
    left, back, top = np.moveaxis(offsets @ direction.T, -1, 0)
    return {"L": left, "P": back, "S": top}, {"sitk_stuff": {"direction": tuple(direction.ravel().tolist())}}


@pytest.mark.parametrize("transpose", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("name", DIRECTIONS)
def test_rows_go_down_or_back_and_columns_to_the_patient_s_left_or_back(name, transpose):
    places, properties = read(DIRECTIONS[name])
    view = NetworkView.of(properties, np.argsort(transpose))
    preprocessed = {letter: place.transpose(transpose) for letter, place in places.items()}
    turned = {letter: view.turn(place) for letter, place in preprocessed.items()}
    # The slices are still those of the network.
    slice_of = np.broadcast_to(np.arange(preprocessed["L"].shape[0])[:, None, None], preprocessed["L"].shape).copy()
    numbers = view.turn(slice_of)
    assert (numbers == numbers[:, :1, :1]).all() and len(numbers) == len(slice_of)

    growing = {axis: max(turned, key=lambda letter: abs(np.diff(turned[letter], axis=axis).mean())) for axis in (1, 2)}
    assert growing in ({1: "P", 2: "L"}, {1: "S", 2: "L"}, {1: "S", 2: "P"})
    assert (np.diff(turned[growing[2]], axis=2) > 0).all()
    assert (np.diff(turned[growing[1]], axis=1) * (-1 if growing[1] == "S" else 1) > 0).all()
    assert view.sides == (("R", "L") if growing[2] == "L" else ("A", "P"))


@pytest.mark.parametrize("transpose", list(itertools.permutations(range(3))), ids=str)
def test_spacing_follows_the_axes(transpose):
    _, properties = read(CORONAL)
    view = NetworkView.of(properties, np.argsort(transpose))
    for axis in range(3):
        thick = [1.0, 1.0, 1.0]
        thick[axis] = 5.0
        marked = np.zeros((3, 3, 3))
        marked[:] = np.arange(3).reshape([3 if a == axis else 1 for a in range(3)])
        turned = view.turn(marked)
        (moved,) = [a for a in range(3) if np.diff(turned, axis=a).any()]
        assert view.turn_spacing(thick)[moved] == 5.0


def test_without_a_direction_the_network_s_slices_are_shown_as_they_lie_and_no_side_is_named():
    array = np.arange(24).reshape(2, 3, 4)
    view = NetworkView.of({"spacing": (1, 1, 1)}, (0, 1, 2))
    np.testing.assert_array_equal(view.turn(array), array)
    assert view.sides is None
    other = NetworkView.of({"spacing": (1, 1, 1)}, (2, 0, 1))
    np.testing.assert_array_equal(other.turn(array), array.transpose(0, 2, 1))


def test_masks_and_floats_keep_their_values():
    _, properties = read(SAGITTAL)
    view = NetworkView.of(properties, (0, 1, 2))
    values = np.random.default_rng(0).random(SHAPE)
    turned, mask = view.turn(values), view.turn(values > 0.5)
    assert mask.dtype == bool and turned.dtype == values.dtype
    np.testing.assert_array_equal(turned > 0.5, mask)
