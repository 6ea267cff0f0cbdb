from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.mismatch.symmetry import find_mirror_plane
from nnunet_mgcl.phantom.brain.anatomy import draw_head
from nnunet_mgcl.phantom.brain.scan import Grid, Pose
from nnunet_mgcl.phantom.scanner.acquisition import draw_images
from nnunet_mgcl.phantom.scanner.scene import set_scene

OBLIQUE = [[0.96, 0.28, 0], [-0.28, 0.96, 0], [0, 0, 1]]
SAGITTAL = [[0, 0, 1], [1, 0, 0], [0, -1, 0]]
"""Direction cosines of images whose slices run along the patient's x axis."""


def errors(plane, normal, offset, centre):
    """Degrees between the normals, and mm between the planes in the middle of the head."""
    degrees = np.rad2deg(np.arccos(np.clip(plane.normal @ np.asarray(normal), -1, 1)))
    return degrees, abs(plane.distance(np.asarray([centre]))[0] - (np.asarray(centre) @ normal - offset))


def phantom_flair(seed, pose):
    """A phantom's head that is its own mirror image, but for its folds, old age, coils and noise."""
    rng = np.random.default_rng(seed)
    head = draw_head(rng)
    straight = replace(head, matrix=np.diag(np.diag(head.matrix)), deformation=0 * head.deformation)
    grid = Grid.covering(96, 18)
    image = sitk.GetImageFromArray(draw_images("FLAIR", set_scene(straight.sample(grid, pose)), rng)["FLAIR"])
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin([float(axis[0]) for axis in grid.axes()[::-1]])
    return image


@pytest.mark.parametrize(
    ("seed", "rotation", "shift"),
    [(0, (0, 0, 0), (0, 0, 0)), (1, (10, 14, -15), (7, -5, 4)), (2, (-14, -13, 11), (-9, 6, 3))],
)
def test_plane_of_a_phantom_is_found_in_any_pose(seed, rotation, shift) -> None:
    plane = find_mirror_plane(phantom_flair(seed, Pose(rotation, shift)))
    origin = Pose(rotation, shift).to_head(np.zeros((1, 3)))[0]
    normal = np.array([Pose(rotation, shift).to_head(e)[0] - origin[0] for e in np.eye(3)])
    degrees, mm = errors(plane, normal, -origin[0], shift)
    assert degrees < 1.0 and mm < 1.5
    assert plane.symmetry > 0.9


@pytest.mark.parametrize("axes", [None, OBLIQUE, SAGITTAL, np.diag([-1.0, -1.0, 1.0])])
def test_plane_does_not_depend_on_the_grid(head, axes) -> None:
    lying = head((5, -8, 6), (6, 0, -4), axes=axes, shape=(40, 50, 60), spacing=(4.0, 4.5, 5.0))
    degrees, mm = errors(find_mirror_plane(lying.flair), lying.normal, lying.offset, (6, 0, -4))
    assert degrees < 1.0 and mm < 1.5


def test_large_bright_lesion_does_not_pull_the_plane(head) -> None:
    lying = head((0, 5, -5), lesions=[(38, 0, 5, 26, 1.8)])
    degrees, mm = errors(find_mirror_plane(lying.flair), lying.normal, lying.offset, (0, 0, 0))
    assert degrees < 1.0 and mm < 1.5


def test_points_are_mirrored_across_the_plane_and_left_is_positive(head) -> None:
    plane, again = (find_mirror_plane(head((0, 0, 10), (5, 0, 0)).flair) for _ in range(2))
    points = np.array([[40.0, 10, 3], [-7, 2, 1]])
    mirrored = plane.mirror(points)
    np.testing.assert_allclose(plane.distance(mirrored), -plane.distance(points))
    np.testing.assert_allclose(plane.mirror(mirrored), points)
    assert plane.distance(points)[0] > 0 and plane == again


@pytest.mark.parametrize("values", [np.zeros((8, 16, 16)), np.random.default_rng(0).normal(10, 1, (8, 32, 32))])
def test_what_is_no_head_has_no_plane(values) -> None:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing((3.0, 3.0, 6.0))
    assert find_mirror_plane(image) is None
