-- What is decided about a token, and for whom it counts. Plain Lua: no Kong, no nginx, no library.

local M = {}

M.MAX_TOKEN = 8 * 1024

-- which an upstream may believe only when they come from here
M.IDENTITY_HEADERS = {
  "X-Tenant-Id", "X-User-Id", "X-User-Roles", "X-Auth-Client",
  "X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username",
  "X-Credential-Identifier", "X-Anonymous-Consumer", "X-Authenticated-Groups",
  "X-Userinfo", "X-ID-Token", "X-Access-Token",
}

-- they would let a token choose its own key or its own rules
local FORBIDDEN = { "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc" }

-- the token of the Authorization header(s); or nil and, when something was sent, what is wrong with it
function M.bearer(authorization)
  if authorization == nil then
    return nil
  end
  if type(authorization) == "table" then
    return nil, "more than one Authorization header"
  end
  local scheme, token = authorization:match("^(%a+)[ \t]+([%w_%-]+%.[%w_%-]+%.[%w_%-]+)[ \t]*$")
  if not scheme or scheme:lower() ~= "bearer" then
    return nil, "malformed bearer token"
  end
  if #token > M.MAX_TOKEN then
    return nil, "token too long"
  end
  return token
end

local function contains(list, wanted)
  if type(list) ~= "table" then
    return false
  end
  for _, item in ipairs(list) do
    if item == wanted then
      return true
    end
  end
  return false
end

-- what is wrong with a token before any key is looked up; nil when nothing is
function M.header_flaw(conf, header, claims)
  if type(header) ~= "table" or type(claims) ~= "table" then
    return "malformed token"
  end
  if not contains(conf.algorithms, header.alg) then
    return "algorithm not allowed"
  end
  if header.crit ~= nil then
    return "unknown critical header"
  end
  for _, name in ipairs(FORBIDDEN) do
    if header[name] ~= nil then
      return "header not allowed"
    end
  end
  if type(header.kid) ~= "string" then
    return "no key id"
  end
  if claims.iss ~= conf.issuer then
    return "wrong issuer"
  end
end

-- the public members of a published key that tokens may be signed with; nil for another (Keycloak also lists use=enc)
function M.signing_key(jwk)
  if type(jwk) ~= "table" or type(jwk.kid) ~= "string" or (jwk.use ~= nil and jwk.use ~= "sig") then
    return nil
  end
  if jwk.kty ~= "RSA" and jwk.kty ~= "EC" then
    return nil
  end
  return { kty = jwk.kty, n = jwk.n, e = jwk.e, crv = jwk.crv, x = jwk.x, y = jwk.y }
end

-- whether a set of keys that was fetched at a time is not to be believed any more, however long the issuer is away
function M.too_old(conf, fetched_at, now)
  return now - fetched_at > conf.jwks_ttl + conf.jwks_max_stale
end

-- whether the key that was found is one for the token's algorithm
function M.key_flaw(key, header)
  if (key.alg and key.alg ~= header.alg) or (key.kty == "RSA") == (header.alg:sub(1, 2) == "ES") then
    return "key and algorithm disagree"
  end
end

-- not NaN, not infinite, not negative
local function is_time(value)
  return type(value) == "number" and value >= 0 and value < 2 ^ 53
end

-- what is wrong with the claims of a token whose signature is good; nil when nothing is
function M.claims_flaw(conf, claims, now)
  if not is_time(claims.exp) or claims.exp + conf.leeway <= now then
    return "token expired"
  end
  if claims.nbf ~= nil and (not is_time(claims.nbf) or claims.nbf - conf.leeway > now) then
    return "token not yet valid"
  end
  if claims.typ ~= "Bearer" then -- Keycloak: ID tokens say typ=ID
    return "not an access token"
  end
  if claims.aud ~= conf.audience and not contains(claims.aud, conf.audience) then
    return "wrong audience"
  end
  if type(claims.sub) ~= "string" or #claims.sub > 255 or not claims.sub:match("^[\32-\126]+$") then
    return "no subject"
  end
end

local function roles_of(claims)
  local found = type(claims.realm_access) == "table" and claims.realm_access.roles
  local roles = {}
  if type(found) == "table" then
    for _, role in ipairs(found) do
      if type(role) == "string" and role:match("^[%w_%-%.:]+$") then
        roles[#roles + 1] = role
      end
    end
  end
  return roles
end

local function client_of(claims)
  local client = claims.azp
  if type(client) == "string" and #client <= 255 and client:match("^[%w_%-%.]+$") then
    return client
  end
end

-- As the API tells service accounts from people: Keycloak writes client_id into tokens of client credentials only, and a
-- person's token has a session.
local function of_client(claims, client)
  return client ~= nil and claims.client_id == client and claims.sid == nil
end

-- Who is calling: {tenant, subject, roles, client, counts_as}; or nil and why not.
-- Without a tenant come administrators, who have none, and service accounts, whose tenant only the API knows. Whether
-- either may do what it asks is for the API to say; here it is only said whose ceiling the request counts against.
function M.identity(conf, claims)
  local roles, client, tenant = roles_of(claims), client_of(claims), claims[conf.tenant_claim]
  local who = { subject = claims.sub, roles = table.concat(roles, ","), client = client }
  if tenant ~= nil then
    if type(tenant) ~= "string" or #tenant > 63 or not tenant:match("^[a-z0-9][a-z0-9-]*$") then
      return nil, "no tenant"
    end
    who.tenant, who.counts_as = tenant, "tenant:" .. tenant
    return who
  end
  local prefix = conf.service_account_prefix
  if contains(roles, "admin") then
    who.counts_as = "subject:" .. claims.sub
  elseif of_client(claims, client) and client:sub(1, #prefix) == prefix then
    who.counts_as = "client:" .. client
  else
    return nil, "no tenant"
  end
  return who
end

-- the answer to a request that is not let through: status, body as a table, headers
function M.refusal(conf, status, detail, code)
  local known = ({
    [401] = { "The caller is not known", "unauthenticated" },
    [403] = { "The caller may not do this", "forbidden" },
    [503] = { "A part that this needs does not answer", "dependency_unavailable" },
  })[status]
  local headers = { ["Content-Type"] = "application/problem+json", ["Cache-Control"] = "no-store" }
  if status == 503 then
    headers["Retry-After"] = tostring(math.ceil(conf.jwks_retry))
  else
    headers["WWW-Authenticate"] = ('Bearer realm="%s"'):format(conf.realm)
      .. (code and (', error="%s", error_description="%s"'):format(code, detail) or "")
  end
  local body = {
    type = "urn:agent-runtime:problem:" .. known[2], title = known[1], status = status, detail = detail, code = known[2],
  }
  return status, body, headers
end

return M
