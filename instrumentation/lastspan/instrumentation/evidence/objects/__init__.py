"""Reading the host's objects without running any of its code."""
