import numpy as np

from nnunet_mgcl.data.images.bit_mask import encode, label_names, lesion_labels


def test_labels_are_sums_of_the_modalities_powers_of_two():
    assert label_names(["DWI", "FLAIR"]) == {"background": 0, "DWI": 1, "FLAIR": 2, "DWI+FLAIR": 3}
    assert lesion_labels(["DWI", "FLAIR", "PWI"])["FLAIR"] == [2, 3, 6, 7]


def test_each_mask_can_be_read_back_from_the_label_map():
    random = np.random.default_rng(0)
    modalities = ["A", "B", "C", "D"]
    masks = {modality: random.random((3, 4, 5)) < 0.5 for modality in modalities}
    labels = encode(masks, modalities)
    for modality, members in lesion_labels(modalities).items():
        assert (np.isin(labels, members) == masks[modality]).all()
