"""How scans are drawn: for the eyes of a radiologist, with what is known of their lesions."""
