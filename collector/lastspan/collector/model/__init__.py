"""The data types of all stages: signals, evidence, sketches of durations."""
