"""The outputs of the collector: the API, `/metrics`, pages."""
