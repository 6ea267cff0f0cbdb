"""What the phases of supervised contrast share: their course, their cases and the watch over them."""
