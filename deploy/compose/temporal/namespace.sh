#!/bin/sh
# Makes the platform's namespace and its search attribute, and waits until workflows can be started there.
set -eu
export TEMPORAL_NAMESPACE
patiently() { # what is made takes a moment to be known everywhere
  attempt=0
  until "$@"; do
    attempt=$((attempt + 1))
    [ "$attempt" -lt 60 ] || { echo "still failing: $*" >&2; exit 1; }
    sleep 1
  done
}
known() { temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; }
has_attribute() { temporal operator search-attribute list --namespace "$TEMPORAL_NAMESPACE" 2>/dev/null | grep -q TenantId; }
make_attribute() {
  has_attribute || temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" --name TenantId --type Keyword
}
patiently temporal operator cluster health
known || temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
patiently known
patiently make_attribute
patiently has_attribute
