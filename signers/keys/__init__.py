"""Keys in files: PEM, public keys, key sets, cosign's encrypted keys.

Not allowed here: key services, formats that carry signatures.
"""
