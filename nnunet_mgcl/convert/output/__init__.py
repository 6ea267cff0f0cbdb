"""What a conversion leaves in the folder of a dataset."""
