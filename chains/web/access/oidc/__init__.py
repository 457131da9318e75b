"""OpenID Connect: the issuer's documents and keys, tokens, and the login by authorization code with PKCE.

Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, 7636 (PKCE), 8725 (JWT practices), 9068 (access
tokens), 9207 (issuer in the answer), 9700 (security practices).
"""
