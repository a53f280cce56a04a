-- Lets a request through when its access token is good. What is decided stands in verdict.lua; here it is asked and done.
local jwt_parser = require "kong.plugins.jwt.jwt_parser"
local jwks       = require "kong.plugins.keycloak-jwt.jwks"
local verdict    = require "kong.plugins.keycloak-jwt.verdict"

local PSS = require("resty.openssl.pkey").PADDINGS.RSA_PKCS1_PSS_PADDING
local DIGEST = { RS256 = "sha256", RS384 = "sha384", RS512 = "sha512" }

local H = { PRIORITY = 1450, VERSION = "0.3.0" }

local function reject(conf, status, detail, code)
  return kong.response.exit(verdict.refusal(conf, status, detail, code))
end

local function signature_ok(jwt, pem)
  local k = jwks.pkey(pem)
  if not k then return false end
  local alg = jwt.header.alg
  local data = jwt.header_64 .. "." .. jwt.claims_64
  if alg == "ES256" then
    return #jwt.signature == 64 and k:verify(jwt.signature, data, "sha256", nil, { ecdsa_use_raw = true })
  elseif alg == "PS256" then
    return k:verify(jwt.signature, data, "sha256", PSS)
  end
  return k:verify(jwt.signature, data, DIGEST[alg])
end

-- claims; or nil, detail, status
local function verify(conf, token)
  local parsed, jwt = pcall(jwt_parser.new, jwt_parser, token)
  if not parsed or type(jwt) ~= "table" then
    return nil, "malformed token"
  end
  local flaw = verdict.header_flaw(conf, jwt.header, jwt.claims)
  if flaw then
    return nil, flaw
  end
  local key, err = jwks.get(conf, jwt.header.kid)
  if err then
    kong.log.err(err)
    return nil, "identity provider unavailable", 503
  end
  if not key then
    return nil, "unknown key"
  end
  flaw = verdict.key_flaw(key, jwt.header)
  if flaw then
    return nil, flaw
  end
  local checked, valid = pcall(signature_ok, jwt, key.pem)
  if not checked or not valid then
    return nil, "bad signature"
  end
  flaw = verdict.claims_flaw(conf, jwt.claims, ngx.time())
  if flaw then
    return nil, flaw
  end
  return jwt.claims
end

function H:access(conf)
  local set, clear = kong.service.request.set_header, kong.service.request.clear_header
  for _, name in ipairs(verdict.IDENTITY_HEADERS) do clear(name) end

  local token, unusable = verdict.bearer(kong.request.get_headers()["authorization"])
  if not token then
    return reject(conf, 401, unusable or "no bearer token", unusable and "invalid_request")
  end
  local claims, detail, status = verify(conf, token)
  if not claims then
    return reject(conf, status or 401, detail, "invalid_token")
  end
  local who, refused = verdict.identity(conf, claims)
  if not who then
    return reject(conf, 403, refused, "insufficient_scope")
  end
  set("X-User-Id", who.subject)
  set("X-User-Roles", who.roles)
  if who.tenant then set("X-Tenant-Id", who.tenant) end
  if who.client then set("X-Auth-Client", who.client) end

  -- no consumers: a bare credential is enough for rate-limiting with limit_by=credential
  kong.client.authenticate(nil, { id = who.counts_as })
end

return H
