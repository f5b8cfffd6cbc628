"""What leaves the collector: the API, `/metrics`, pages, alerts. Each asks the `View`, and no other publisher."""
