"""The user profile: who may edit which attribute decides whether a user can choose a tenant."""

from __future__ import annotations

import json
from typing import Any

from keycloak.admin import Admin

PROVIDER = "org.keycloak.userprofile.UserProfileProvider"
OURS = ("email", "tenant_id")


def correct_profile(admin: Admin, realm: str, document: dict[str, Any]) -> list[str]:
    """Declare `tenant_id` and guard it and `email` from their users; other attributes stay as they are."""
    wanted = {attribute["name"]: attribute for attribute in declared(document)["attributes"]}
    profile = admin.get(f"/{realm}/users/profile")
    said = []
    if profile.get("unmanagedAttributePolicy") == "ENABLED":
        # A user could set any attribute that is not declared.
        profile["unmanagedAttributePolicy"] = "ADMIN_EDIT"
        said.append("user profile: undeclared attributes are for administrators only")
    known = {attribute["name"]: attribute for attribute in profile["attributes"]}
    for name in OURS:
        attribute = known.get(name)
        if attribute is None:
            profile["attributes"].append(wanted[name])
            said.append(f"user profile: {name} declared")
        elif attribute.get("permissions", {}).get("edit") != wanted[name]["permissions"]["edit"]:
            attribute["permissions"] = wanted[name]["permissions"]
            said.append(f"user profile: {name} is for administrators to edit")
    if said:
        admin.put(f"/{realm}/users/profile", profile)
    return said


def declared(document: dict[str, Any]) -> Any:
    """The profile as the realm file has it."""
    return json.loads(document["components"][PROVIDER][0]["config"]["kc.user.profile.config"][0])
