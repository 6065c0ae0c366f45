"""OpenID Connect as this registry speaks it: configuration, discovery, keys, ID tokens, and the calls of the code flow.

The flow itself (state, nonce, PKCE, the exchange) is mozilla-django-oidc's. What it lacks stands here: several
providers, discovery, checks of issuer and audience, a cache of keys, refreshing, the one door for outgoing requests.
"""
