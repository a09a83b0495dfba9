"""The ways to ask for predictions over HTTP: each reads rows from a request and writes answers in its own form."""
