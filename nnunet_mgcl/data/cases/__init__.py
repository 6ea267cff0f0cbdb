"""nnU-Net's preprocessed cases, and one branch's view of them."""
