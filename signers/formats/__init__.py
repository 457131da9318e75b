"""Formats: what a signature travels in: DSSE, Sigstore bundles, the annotations of a layer.

May not come in here: keys' storage, services, network.
"""
