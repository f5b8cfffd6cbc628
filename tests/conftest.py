"""What all tests may ask for: real servers."""

pytest_plugins = ["tests.server_fixtures"]
