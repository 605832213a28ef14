"""Authentication: proving who calls. Tokens, sessions, revocation."""
