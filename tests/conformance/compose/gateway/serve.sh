#!/bin/sh
# In the place of Kong's entry point, see start.sh.
exec python -m tests.conformance.compose.gateway.serve
