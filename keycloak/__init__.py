"""The realm of Agent Runtime in Keycloak: its import file, the check before a start, the update of an installed one.

Only the standard library is used here: it runs wherever there is a Python.
"""
