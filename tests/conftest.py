"""What all tests may ask for: real servers; and which of the tests run, in what order."""

pytest_plugins = ["tests.examples", "tests.selection", "tests.server_fixtures"]
