from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.pretraining.monitor.neighbours import neighbour_accuracy, why_undefined


def by_hand(representations, lesion, patients):
    """Balanced and plain accuracy, sample by sample."""
    right = {"balanced": {True: [], False: []}, "plain": []}
    for i, own in enumerate(representations):
        others = [j for j in range(len(lesion)) if patients[j] != patients[i]]
        angles = {
            j: own @ representations[j] / np.linalg.norm(own) / np.linalg.norm(representations[j]) for j in others
        }
        nearest = sorted(others, key=lambda j: -angles[j])[:5]
        votes = sum(lesion[j] for j in nearest)
        at_large = sum(lesion[j] for j in others) / len(others)
        right["plain"].append((votes >= 3) == lesion[i])
        right["balanced"][bool(lesion[i])].append((votes / 5 > at_large) == lesion[i])
    return np.mean([np.mean(own) for own in right["balanced"].values()]), np.mean(right["plain"])


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_that_of_a_loop_over_samples(share, seed) -> None:
    random = np.random.default_rng(seed)
    patients = random.integers(0, 5, 120).astype(str)
    lesion = random.random(120) < share
    representations = random.normal(size=(120, 4)) + lesion[:, None] + random.normal(size=(5, 4))[patients.astype(int)]
    found = neighbour_accuracy(representations.astype(np.float32), lesion, patients)
    assert (found.balanced, found.plain) == pytest.approx(by_hand(representations, lesion, patients))


def test_samples_of_the_same_patient_do_not_vote() -> None:
    """Patients lie in corners of their own; within each the classes are apart, between patients they are swapped."""
    random = np.random.default_rng(0)
    patients = np.repeat(["a", "b"], 40)
    lesion = np.tile(np.repeat([True, False], 20), 2)
    angles = np.select([(patients == "a") & lesion, (patients == "a") & ~lesion, lesion], [0.0, 1.0, 1.1], -0.1)
    angles += random.normal(scale=0.01, size=80)
    found = neighbour_accuracy(np.stack([np.cos(angles), np.sin(angles)], 1), lesion, patients)
    assert (found.balanced, found.plain) == (0, 0)


def test_length_of_a_representation_means_nothing() -> None:
    random = np.random.default_rng(0)
    representations, lesion, patients = random.normal(size=(60, 3)), random.random(60) < 0.5, np.arange(60) % 4
    scaled = representations * random.uniform(0.1, 10, size=(60, 1))
    assert neighbour_accuracy(scaled, lesion, patients) == neighbour_accuracy(representations, lesion, patients)


def unequal_patients(random, samples=120):
    """Patients whose samples show a lesion in 5 to 60 % of them, as in a real fold."""
    patients = random.integers(0, 8, samples)
    return random.random(samples) < np.linspace(0.05, 0.6, 8)[patients], patients


@pytest.mark.parametrize("seed", range(10))
def test_noise_reaches_what_is_reached_by_chance(seed) -> None:
    random = np.random.default_rng(seed)
    lesion, patients = unequal_patients(random)
    found = neighbour_accuracy(random.normal(size=(len(lesion), 16)), lesion, patients)
    for value, (mean, sd) in (
        (found.balanced, found.balanced_by_chance),
        (found.plain, found.plain_by_chance),
    ):
        assert 0.01 < sd < 0.12 and abs(value - mean) < 3 * sd


def test_chance_of_patients_with_many_lesions_lies_below_one_half() -> None:
    """At large lesions are rarer for those who have many: two patients with lesions in 10 and 90 % of their samples."""
    random = np.random.default_rng(0)
    patients = np.repeat([0, 1], 100)
    lesion = np.tile(np.arange(100) < 10, 2) ^ (patients == 1)
    mean, sd = neighbour_accuracy(random.normal(size=(200, 16)), lesion, patients).balanced_by_chance
    assert 0.4 < mean < 0.45 and sd < 0.05  # 0.43: all of 5 neighbours must show one, or a single one is enough


def test_classes_that_are_apart_lie_far_above_chance() -> None:
    random = np.random.default_rng(0)
    lesion, patients = unequal_patients(random)
    found = neighbour_accuracy(
        random.normal(size=(len(lesion), 16)) + np.where(lesion, 5, -5)[:, None], lesion, patients
    )
    mean, sd = found.balanced_by_chance
    assert found.balanced == found.plain == 1 and mean + 5 * sd < 1


@pytest.mark.parametrize(
    ("lesion", "patients", "reason"),
    [
        ([], [], "there is no annotated sample"),
        ([True] * 12, "aabbccddeeff", "every sample shows a lesion"),
        ([False] * 12, "aabbccddeeff", "no sample shows a lesion"),
        ([True, False] * 6, "a" * 12, "the samples are of a single patient"),
        ([True, False] * 6, "a" * 8 + "bbcc", "beside one patient's samples there are fewer than 5 of others"),
        ([True, False] * 6, "a" * 7 + "bbbcc", None),
    ],
)
def test_what_is_undefined_is_so_for_a_reason(lesion, patients, reason) -> None:
    lesion, patients = np.array(lesion, bool), np.array(list(patients))
    assert why_undefined(lesion, patients) == reason
    if not reason:
        neighbour_accuracy(np.random.default_rng(0).normal(size=(len(lesion), 3)), lesion, patients)
