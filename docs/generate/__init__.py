"""Writes those pages of the docs that follow from types (`make docs`)."""
