"""The collector as a process: its file of settings, the pipeline through the pure stages, the server around it."""
