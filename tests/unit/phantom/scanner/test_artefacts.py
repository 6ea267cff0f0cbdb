import numpy as np
import pytest

from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.scanner import artefacts

GRID = Grid.covering(64, 6)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def square():
    image = np.zeros(GRID.shape, dtype=np.float32)
    image[:, 20:44, 20:44] = 1.0
    return image


def test_coils_make_a_smooth_unevenness_around_one(rng):
    bias = artefacts.coil_bias(GRID, rng)
    assert bias.shape == GRID.shape
    assert bias.mean() == pytest.approx(1.0, abs=1e-5)
    assert 1.1 < bias.max() / bias.min() < 4
    # Smooth: neighbours differ by far less than the ends.
    assert np.abs(np.diff(bias, axis=2)).max() < 0.1 * (bias.max() - bias.min())


def test_signal_is_lost_above_the_sinuses_and_the_ears_only(rng):
    sinus, ear, vertex, occipital = (0, 36, -26), (-48, -26, -32), (0, -20, 70), (10, -90, 0)
    places = np.asarray([sinus, ear, vertex, occipital], dtype=np.float32).T[:, :, None, None]
    left = artefacts.susceptibility_loss(places, rng).ravel()
    assert (left[:2] < 0.5).all()
    assert (left[2:] > 0.99).all()


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_alternating_phases_make_a_ghost_at_half_the_field_of_view(angle):
    phase = angle * np.where(np.arange(64) % 2, 1.0, -1.0) * np.ones((6, 1))
    image = artefacts.with_phase_errors(square(), phase)
    # exp(+-i a) = cos a -+ i sin a, alternating: the cosine keeps the image, the sine shifts it by half of the lines.
    expected = np.cos(angle) * square() - 1j * np.sin(angle) * np.roll(square(), 32, axis=1)
    assert np.abs(image - expected).max() < 1e-5


def test_a_patient_who_moves_between_shots_makes_ghosts_beside_the_head(rng):
    ghost = np.abs(artefacts.with_phase_errors(square(), artefacts.interleaved_motion(GRID, rng)))
    beside = np.ones(64, dtype=bool)
    beside[14:50] = False
    assert 0.01 < ghost[:, beside, 20:44].max() < 0.7
    assert ghost[:, :, :16].max() < 1e-6  # along y only
    assert (ghost**2).sum() == pytest.approx((square() ** 2).sum(), rel=1e-4)


def test_ghosts_differ_between_slices_and_stay_weak(rng):
    image = np.abs(artefacts.with_phase_errors(square(), artefacts.echo_ghost(GRID, rng)))
    weights = image[:, 0, 32]
    assert len(np.unique(weights)) == 6
    assert 0.001 < weights.max() < 0.35


def test_dropouts_darken_whole_slices(rng):
    image = np.ones((200, 4, 4), dtype=np.float32)
    dark = artefacts.with_dropouts(image, rng)
    assert (dark.min(axis=(1, 2)) == dark.max(axis=(1, 2))).all()
    assert 0.05 < (dark[:, 0, 0] < 1).mean() < 0.3
    assert dark.min() >= 0.6


def test_noise_is_rician(rng):
    air = artefacts.rician(np.zeros(200_000, dtype=np.float32), 2.0, rng)
    assert air.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
    signal = artefacts.rician(np.full(200_000, 100.0, dtype=np.float32), 2.0, rng)
    assert signal.std() == pytest.approx(2.0, rel=0.01)
    assert (signal**2).mean() == pytest.approx(100.0**2 + 2 * 2.0**2, rel=1e-3)
    inverted = artefacts.rician(np.full(1000, -100.0, dtype=np.float32), 2.0, rng)
    assert inverted.min() > 80
