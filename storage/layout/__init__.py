"""The store ``oci-layout``: an OCI image layout in a folder."""
