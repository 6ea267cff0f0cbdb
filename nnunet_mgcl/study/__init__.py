"""A comparison of trainers at several fractions of the labels: its file, its jobs, their runs and its report."""
