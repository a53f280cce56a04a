"""Our token verification against a real Keycloak, and against the embedded issuer, which has to behave like it."""
