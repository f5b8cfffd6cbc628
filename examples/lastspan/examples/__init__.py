"""Small real workers, used by the demo, the tests and the docs."""
