"""What the rooms speak of: signals, evidence, sketches of durations."""
