local typedefs = require "kong.db.schema.typedefs"

return {
  name = "keycloak-jwt",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
        type = "record",
        fields = {
          -- value the token's iss must equal (the PUBLIC realm URL)
          { issuer = { type = "string", required = true, referenceable = true } },
          -- where this node fetches keys (may be an internal URL)
          { jwks_uri = typedefs.url({ required = true, referenceable = true }) },
          { audience = { type = "string", required = true, referenceable = true } },
          { algorithms = { type = "set", required = true, default = { "RS256" },
              elements = { type = "string", one_of = { "RS256", "RS384", "RS512", "PS256", "ES256" } } } },
          { leeway = { type = "integer", required = true, default = 5, between = { 0, 60 } } },
          -- a key that Keycloak dropped is refused after this many seconds
          { jwks_ttl = { type = "number", required = true, default = 300, gt = 0 } },
          -- while Keycloak is away: how often it is asked again, and how long its last answer is believed after jwks_ttl
          { jwks_retry = { type = "number", required = true, default = 10, gt = 0 } },
          { jwks_max_stale = { type = "number", required = true, default = 3600, gt = 0 } },
          -- an unknown kid asks Keycloak at most this often per node
          { jwks_min_refresh = { type = "number", required = true, default = 10, gt = 0 } },
          { http_timeout = { type = "integer", required = true, default = 2000, between = { 100, 10000 } } },
          { ssl_verify = { type = "boolean", required = true, default = true } },
          -- what the names of service accounts begin with; their tokens name no tenant, since the API knows it
          { service_account_prefix = { type = "string", required = true, default = "", len_min = 0 } },
          { tenant_claim = { type = "string", required = true, default = "tenant_id" } },
          { realm = { type = "string", required = true, default = "api" } },
        },
    } },
  },
}
