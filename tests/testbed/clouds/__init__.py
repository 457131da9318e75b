"""Small servers with the documented protocols of services that cannot run here, for the vendors' clients."""
