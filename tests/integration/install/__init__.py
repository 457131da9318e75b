"""What users install: the chart, ``release.yaml`` and kustomize, on a real API server."""
