"""The store ``oci``: image registries."""
