"""Keys in files: PEM, public keys, key sets, cosign's encrypted keys.

May not come in here: keys that never leave their service, formats of signatures.
"""
