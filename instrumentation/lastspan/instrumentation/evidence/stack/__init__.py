"""Whose frames, tasks and lines a job stands on."""
