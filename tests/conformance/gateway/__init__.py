"""A suite that talks to a gateway; see kong/README.md for which one."""
