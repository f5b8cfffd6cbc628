"""What leaves the collector: the API, `/metrics`, pages."""
