"""What is kept on disk, so that a restart forgets nothing."""
