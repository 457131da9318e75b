"""The store ``kafka``: messages in the format of Tekton Chains' ``pubsub`` storage."""
