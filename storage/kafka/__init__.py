"""The store ``kafka``: messages of Tekton Chains' ``pubsub``."""
