"""The stroke, its clock, and what only looks like one."""
