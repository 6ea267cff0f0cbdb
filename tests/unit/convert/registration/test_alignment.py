import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.registration import alignment
from nnunet_mgcl.convert.registration.alignment import align
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.registration.rigid import Registration
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.system.errors import UserError

CHANNELS = ("DWI", "ADC", "FLAIR", "Tmax", "CBF")


def scan(spacing=(2.0, 2.0, 5.0), origin=(0.0, 0.0, 0.0)):
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((6, 10, 10), np.float32))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def settings(**changes):
    return Settings(CHANNELS, {channel: (channel,) for channel in CHANNELS}, **changes)


@pytest.fixture
def registered(monkeypatch):
    """Notes which image was registered to which, by identity, and shifts each by 2 mm."""
    pairs = []

    def register(fixed, moving, *, engine):
        pairs.append((id(fixed), id(moving)))
        transform = sitk.Euler3DTransform()
        transform.SetTranslation((2.0, 0.0, 0.0))
        return Registration(transform, 0.5, 0.6, 2.0, 0.0)

    monkeypatch.setattr(alignment, "register", register)
    return pairs


def test_channels_of_one_acquisition_move_together(registered):
    scans = {
        "FLAIR": scan((2.5, 2.5, 4.0)),
        "DWI": scan(),
        "ADC": scan(),
        "Tmax": scan((3.0,) * 3),
        "CBF": scan((3.0,) * 3),
    }
    aligned = align(scans, ("FLAIR", "CBF", "ADC", "DWI", "Tmax"), settings(reference="FLAIR"))
    names = {id(image): channel for channel, image in scans.items()}
    assert [(names[fixed], names[moving]) for fixed, moving in registered] == [("FLAIR", "CBF"), ("FLAIR", "DWI")]
    assert aligned.transforms["ADC"] is aligned.transforms["DWI"]
    assert aligned.transforms["Tmax"] is aligned.transforms["CBF"]
    assert aligned.notes == {"ADC": "moved with DWI", "Tmax": "moved with CBF"}
    assert set(aligned.registrations) == {"CBF", "DWI"}
    assert all(Grid.of(image) == Grid.of(scans["FLAIR"]) for image in aligned.images.values())


def test_what_shares_acquisition_and_grid_with_the_reference_stays(registered):
    scans = {"DWI": scan(), "ADC": scan()}
    aligned = align(scans, ("ADC", "DWI"), settings(reference="ADC"))
    assert registered == []
    for channel in scans:
        np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (aligned.images[channel], scans[channel])))


def test_a_map_on_another_grid_than_its_leader_is_registered_by_itself(registered):
    scans = {"DWI": scan(), "ADC": scan((2.5, 2.5, 5.0))}
    aligned = align(scans, ("DWI", "ADC"), settings(reference="DWI"))
    assert len(registered) == 1
    assert aligned.notes == {"ADC": "not on the grid of DWI: registered by itself"}


def test_without_a_reference_nothing_is_registered_and_a_spacing_is_that_of_every_channel(registered):
    scans = {"DWI": scan(), "FLAIR": scan((2.5, 2.5, 4.0))}
    aligned = align(scans, ("DWI", "FLAIR"), settings())
    assert registered == [] and aligned.registrations == {}
    assert Grid.of(aligned.images["FLAIR"]) == Grid.of(aligned.images["DWI"])
    aligned = align(scans, ("DWI", "FLAIR"), settings(spacing=(4.0, 4.0, 6.0)))
    assert {image.GetSpacing() for image in aligned.images.values()} == {(4.0, 4.0, 6.0)}


def test_doubts_name_the_channel(registered):
    scans = {"DWI": scan(), "FLAIR": scan((2.5, 2.5, 4.0))}
    aligned = align(scans, ("DWI", "FLAIR"), settings(reference="DWI", max_shift=1.0))
    assert len(aligned.doubts) == 1
    assert aligned.doubts[0].startswith("FLAIR to DWI: ")


def test_scans_that_do_not_overlap_are_refused(registered):
    with pytest.raises(UserError, match="nothing of it lies in the field of view of DWI"):
        align({"DWI": scan(), "FLAIR": scan(origin=(0.0, 0.0, 900.0))}, ("DWI", "FLAIR"), settings())
