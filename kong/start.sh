#!/bin/sh
# Starts Kong with what render.lua makes of kong.yml and the environment; a variable that is missing ends it here.
set -eu
umask 077
here=${GATEWAY_HOME:-/opt/agent-runtime/kong}
export KONG_DECLARATIVE_CONFIG=${KONG_DECLARATIVE_CONFIG:-/tmp/kong.yml}
# A kept file would keep its permissions too.
rm -f "$KONG_DECLARATIVE_CONFIG"
"${GATEWAY_LUA:-resty}" "$here/render.lua" "$here/kong.yml" > "$KONG_DECLARATIVE_CONFIG"
unset REDIS_PASSWORD
if [ "${DEPLOYMENT:-development}" = production ] && grep -q development-only "$KONG_DECLARATIVE_CONFIG"; then
  echo "DEPLOYMENT=production refuses the secrets for development; \`agent-runtime env --production\` makes others" >&2
  exit 1
fi

export KONG_DATABASE=off
export KONG_PLUGINS=bundled,problem-details,keycloak-jwt
export KONG_ADMIN_LISTEN=off KONG_ADMIN_GUI_LISTEN=off
export KONG_STATUS_LISTEN=${KONG_STATUS_LISTEN:-0.0.0.0:8007}
export KONG_ANONYMOUS_REPORTS=off KONG_HEADERS=off
export KONG_NGINX_HTTP_LARGE_CLIENT_HEADER_BUFFERS="8 32k"
# One above the limit of artifacts: Kong buffers chunked bodies before a plugin measures them.
export KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE=33m
# Drops every X_Tenant_Id.
export KONG_NGINX_PROXY_UNDERSCORES_IN_HEADERS=off
# A plugin cannot clear these: Kong has cached them.
export KONG_NGINX_PROXY_MORE_CLEAR_INPUT_HEADERS="X-Forwarded-For Forwarded X-Request-ID"
# Without the query, in which a sign-in carries its code.
export KONG_NGINX_HTTP_LOG_FORMAT="gateway '\$remote_addr [\$time_iso8601] \"\$request_method \$uri\" \$status \$body_bytes_sent \$request_time \$upstream_status'"
export KONG_PROXY_ACCESS_LOG="/dev/stdout gateway"
export KONG_LUA_SSL_TRUSTED_CERTIFICATE="system${OIDC_CA_FILE:+,$OIDC_CA_FILE}${REDIS_CA_FILE:+,$REDIS_CA_FILE}"

for entry in "${GATEWAY_ENTRY:-}" /docker-entrypoint.sh /entrypoint.sh; do
  if [ -x "$entry" ]; then exec "$entry" kong docker-start; fi
done
echo "no entry point of Kong's image was found; name it by GATEWAY_ENTRY" >&2
exit 1
