"""The collector as a process: its file of settings, the pipeline through the pure rooms, the server around it."""
