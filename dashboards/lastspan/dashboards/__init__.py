"""Dashboards for Grafana, built from descriptors in YAML. Start with `build`; the components are in `components`.

Nothing of it is loaded by workers or by the collector. It needs `pip install 'lastspan[dashboards]'`.
"""
