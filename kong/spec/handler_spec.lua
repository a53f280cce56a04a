-- The handlers with stand-ins for Kong's libraries: shows that they ask verdict.lua and answers.lua and do what those say. Whether
-- the real libraries behave like the stand-ins is not shown here, see README.md.
local NOW = 1000000
local CONF = {
  issuer = "https://id/realms/r", audience = "api", algorithms = { "RS256" }, leeway = 5, tenant_claim = "tenant_id",
  service_account_prefix = "", realm = "api", jwks_retry = 10,
}
local tokens, keys, sent, seen, key_failure

local function install()
  tokens, keys, key_failure = {}, { k1 = { pem = "pem", alg = "RS256", kty = "RSA" } }, nil
  sent, seen = {}, { cleared = {}, headers = {} }
  package.preload["kong.plugins.jwt.jwt_parser"] = function()
    return { new = function(_, token) return tokens[token] or error("not a token") end }
  end
  package.preload["kong.plugins.keycloak-jwt.jwks"] = function()
    return {
      get = function(_, kid)
        if key_failure then return nil, key_failure end
        return keys[kid]
      end,
      pkey = function()
        return { verify = function(_, signature, data) return signature == "signed:" .. data end }
      end,
    }
  end
  package.preload["resty.openssl.pkey"] = function() return { PADDINGS = { RSA_PKCS1_PSS_PADDING = 6 } } end
  package.preload["cjson.safe"] = function() return { encode = function(value) return value.code .. "!" end } end
  _G.ngx = { time = function() return NOW end, arg = {} }
  _G.kong = {
    log = { err = function() end },
    ctx = { plugin = {} },
    request = { get_headers = function() return { authorization = sent.authorization } end },
    client = { authenticate = function(consumer, credential) seen.consumer, seen.credential = consumer, credential end },
    service = {
      request = {
        set_header = function(name, value) seen.headers[name] = value end,
        clear_header = function(name) seen.cleared[name] = true end,
      },
      response = { get_header = function(name) return (sent.of_service or {})[name] end },
    },
    response = {
      exit = function(status, body, headers) seen.exit = { status = status, body = body, headers = headers } end,
      get_status = function() return sent.status end,
      get_source = function() return sent.source end,
      get_header = function(name) return (sent.answered or {})[name] end,
      set_header = function(name, value) seen.headers[name] = value end,
    },
  }
end

local function handler(plugin)
  for name in pairs(package.loaded) do
    if name:match("^kong%.plugins") or name:match("^resty") or name == "cjson.safe" then package.loaded[name] = nil end
  end
  return require("kong.plugins." .. plugin .. ".handler")
end

local function ask(claims, header)
  local made = {
    iss = CONF.issuer, aud = "api", typ = "Bearer", exp = NOW + 300, sub = "s", tenant_id = "acme", azp = "cli",
    realm_access = { roles = { "user" } },
  }
  for name, value in pairs(claims or {}) do made[name] = value or nil end
  tokens["a.b.c"] = {
    header = header or { alg = "RS256", kid = "k1" }, claims = made, header_64 = "a", claims_64 = "b", signature = "signed:a.b",
  }
  sent.authorization = "Bearer a.b.c"
  handler("keycloak-jwt"):access(CONF)
  return seen
end

describe("keycloak-jwt", function()
  before_each(install)

  it("lets a good token through, and says who it is", function()
    ask()
    assert.is_nil(seen.exit)
    assert.same({ id = "tenant:acme" }, seen.credential)
    assert.is_nil(seen.consumer)
    assert.same({ ["X-Tenant-Id"] = "acme", ["X-User-Id"] = "s", ["X-User-Roles"] = "user", ["X-Auth-Client"] = "cli" }, seen.headers)
    assert.is_true(seen.cleared["X-Tenant-Id"])
  end)

  it("sets no tenant for who has none", function()
    ask { tenant_id = false, realm_access = { roles = { "admin" } } }
    assert.is_nil(seen.exit)
    assert.same({ id = "subject:s" }, seen.credential)
    assert.is_nil(seen.headers["X-Tenant-Id"])
  end)

  it("refuses what verdict.lua refuses", function()
    assert.equal(403, ask { tenant_id = false }.exit.status)
    assert.equal("wrong audience", ask { aud = "other" }.exit.body.detail)
    assert.equal("token expired", ask { exp = NOW - 5 }.exit.body.detail)
    assert.equal("unknown key", ask({}, { alg = "RS256", kid = "k2" }).exit.body.detail)
    assert.equal("algorithm not allowed", ask({}, { alg = "none", kid = "k1" }).exit.body.detail)
    assert.is_nil(seen.credential)
  end)

  it("refuses a bad signature, a text that is no token, and nothing", function()
    tokens["d.e.f"] = { header = { alg = "RS256", kid = "k1" }, claims = { iss = CONF.issuer }, header_64 = "d", claims_64 = "e", signature = "x" }
    sent.authorization = "Bearer d.e.f"
    handler("keycloak-jwt"):access(CONF)
    assert.equal("bad signature", seen.exit.body.detail)
    sent.authorization = "Bearer g.h.i"
    handler("keycloak-jwt"):access(CONF)
    assert.equal("malformed token", seen.exit.body.detail)
    sent.authorization = nil
    handler("keycloak-jwt"):access(CONF)
    assert.equal('Bearer realm="api"', seen.exit.headers["WWW-Authenticate"])
    assert.is_nil(seen.credential)
  end)

  it("says that the issuer is away", function()
    key_failure = "no key set"
    assert.equal(503, ask().exit.status)
    assert.equal("10", seen.exit.headers["Retry-After"])
  end)

  it("has no response phase, which would hold streams back", function()
    assert.is_nil(handler("keycloak-jwt").response)
    assert.is_nil(handler("problem-details").response)
  end)
end)

describe("problem-details", function()
  before_each(install)

  it("replaces the body of Kong's own error once", function()
    sent.status, sent.source, sent.answered = 404, "exit", { ["Content-Type"] = "application/json" }
    local plugin = handler("problem-details")
    plugin:header_filter()
    assert.equal("application/problem+json", seen.headers["Content-Type"])
    assert.equal(tostring(#"not_found!"), seen.headers["Content-Length"])
    _G.ngx.arg = { "original", false }
    plugin:body_filter()
    assert.same({ "not_found!", true }, _G.ngx.arg)
    _G.ngx.arg = { "more", true }
    plugin:body_filter()
    assert.is_nil(_G.ngx.arg[1])
  end)

  it("leaves an upstream's answer alone, but for the limits that it names", function()
    sent.status, sent.source, sent.of_service = 429, "service", { ["RateLimit-Limit"] = 5, ["RateLimit-Reset"] = "1" }
    local plugin = handler("problem-details")
    plugin:header_filter()
    assert.same({ ["RateLimit-Limit"] = "5", ["RateLimit-Reset"] = "1" }, seen.headers)
    _G.ngx.arg = { "body", true }
    plugin:body_filter()
    assert.equal("body", _G.ngx.arg[1])
  end)
end)
