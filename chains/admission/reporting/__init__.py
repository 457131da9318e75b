"""What admission tells operators besides its answers: metrics, and Events in the cluster."""
