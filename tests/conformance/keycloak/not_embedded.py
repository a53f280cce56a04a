"""What of this suite the embedded issuer is not asked, with the reason; everything else it passes as Keycloak does."""

from __future__ import annotations

# Tests by name.
REASONS = {
    "test_a_password_is_good_for_a_token": (
        "nobody gives a program a password there: the shipped realm has no such client either, the suite adds one"
    ),
}
# Files of tests that are for Keycloak alone.
FILES = {
    "test_attacks.py": "it has no account API, no profile that a user edits, and no clients of its own beside ours",
    "test_keys.py": "it has one key as long as its state directory, and is away only with the whole stack",
    "test_provisioner_attacks.py": "its provisioner has no rights beside those of the few calls that it knows",
    "test_provisioning.py": "the same with the embedded issuer is in tests/integration/api/test_provisioning.py",
    "test_realm.py": "its realm is its program: nothing is installed, so nothing has to be brought up to date",
}
