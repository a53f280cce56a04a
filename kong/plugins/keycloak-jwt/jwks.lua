-- The issuer's keys: fetched, kept for the node, fetched again for an unknown key id. Kong's and OpenResty's own libraries.
local http    = require "resty.http"
local pkey    = require "resty.openssl.pkey"
local cjson   = require "cjson.safe"
local verdict = require "kong.plugins.keycloak-jwt.verdict"
local lru     = require("resty.lrucache").new(64)

local _M = {}

local function fetch(conf)
  local httpc = http.new()
  httpc:set_timeouts(conf.http_timeout, conf.http_timeout, conf.http_timeout)
  local res, err = httpc:request_uri(conf.jwks_uri, {
    method = "GET", headers = { Accept = "application/json" }, ssl_verify = conf.ssl_verify,
  })
  if not res then
    return nil, "jwks fetch failed: " .. tostring(err)
  end
  if res.status ~= 200 then
    return nil, "jwks fetch failed: HTTP " .. res.status
  end
  local doc = cjson.decode(res.body)
  if type(doc) ~= "table" or type(doc.keys) ~= "table" then
    return nil, "jwks fetch failed: not a JWKS document"
  end
  local keys, n = {}, 0
  for _, jwk in ipairs(doc.keys) do
    local pub = verdict.signing_key(jwk)
    if pub then
      local k, perr = pkey.new(cjson.encode(pub), { format = "JWK" })
      local pem = k and k:to_PEM("public")
      if pem then
        keys[jwk.kid] = { pem = pem, alg = jwk.alg, kty = jwk.kty }
        n = n + 1
      else
        kong.log.warn("skipping unusable key ", jwk.kid, ": ", tostring(perr))
      end
    end
  end
  if n == 0 then
    return nil, "jwks fetch failed: no usable signing key"
  end
  kong.log.notice("fetched ", n, " signing key(s) from ", conf.jwks_uri)
  return { keys = keys, at = ngx.now() }
end

-- parsing a PEM costs ~20x the RSA verification itself: keep the parsed
-- key per worker, keyed by the PEM text (so a rotated key is a new entry)
function _M.pkey(pem)
  local k = lru:get(pem)
  if not k then
    local err
    k, err = pkey.new(pem)
    if not k then return nil, err end
    lru:set(pem, k)
  end
  return k
end

local function cache_key(conf)
  return "keycloak-jwt:jwks:" .. conf.jwks_uri
end

-- the key for kid, or nil; or nil and an error when no key set can be had
function _M.get(conf, kid)
  local name = cache_key(conf)
  -- kong.cache takes a lock per key, so a node makes ONE fetch however many requests wait. While Keycloak is away the last
  -- set is served again for resurrect_ttl at a time, without end: so its age is checked here
  local opts = { ttl = conf.jwks_ttl, resurrect_ttl = conf.jwks_retry }
  local set, err = kong.cache:get(name, opts, fetch, conf)
  if not set then
    return nil, err or "no key set"
  end
  if verdict.too_old(conf, set.at, ngx.now()) then
    return nil, "the last key set is too old"
  end
  if not set.keys[kid] and ngx.shared.kong:add("keycloak-jwt:refresh:" .. conf.jwks_uri, true, conf.jwks_min_refresh) then
    local fresh, rerr = kong.cache:renew(name, opts, fetch, conf)
    if not fresh then
      kong.log.err("unknown key, refresh: ", rerr)
    end
    set = fresh or set
  end
  return set.keys[kid]
end

return _M
