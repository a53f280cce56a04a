local verdict = require "kong.plugins.keycloak-jwt.verdict"

local NOW = 1000000
local CONF = {
  issuer = "https://id/realms/r", audience = "api", algorithms = { "RS256" }, leeway = 5, tenant_claim = "tenant_id",
  service_account_prefix = "", realm = "api", jwks_retry = 9.5, jwks_ttl = 300, jwks_max_stale = 3600,
}
local NONE = {}

local function with(base, changes)
  local made = {}
  for name, value in pairs(base) do made[name] = value end
  for name, value in pairs(changes or {}) do
    if value == NONE then made[name] = nil else made[name] = value end
  end
  return made
end

local function header(changes) return with({ alg = "RS256", kid = "k1", typ = "JWT" }, changes) end

local function claims(changes)
  return with({
    iss = CONF.issuer, aud = "api", typ = "Bearer", exp = NOW + 300, iat = NOW, sub = "subject-1", azp = "agent-runtime-cli",
    tenant_id = "acme", realm_access = { roles = { "operator", "user" } },
  }, changes)
end

describe("the Authorization header", function()
  it("holds one bearer token", function()
    assert.equal("a.b.c-_", verdict.bearer("Bearer a.b.c-_"))
    assert.equal("a.b.c", verdict.bearer("bEARER  a.b.c  "))
    assert.same({ nil, nil }, { verdict.bearer(nil) })
  end)

  it("is refused otherwise", function()
    for _, wrong in ipairs {
      "", "Bearer", "Bearer ", "Bearer a.b", "Bearer a.b.", "Bearer a.b.c.d", "Bearer a.b.c=", "Bearer a.b.c d", "Basic a.b.c", "a.b.c",
      "Bearer a.b.c\0", "Bearer a.b.c\nX: y", "Bearer a+b.c.d", "BearerX a.b.c",
    } do
      local token, flaw = verdict.bearer(wrong)
      assert.is_nil(token, wrong)
      assert.equal("malformed bearer token", flaw)
    end
    assert.equal("more than one Authorization header", select(2, verdict.bearer { "Bearer a.b.c", "Bearer a.b.c" }))
    assert.equal("token too long", select(2, verdict.bearer("Bearer a.b." .. ("c"):rep(8 * 1024))))
  end)
end)

describe("a token's header", function()
  it("is good", function()
    assert.is_nil(verdict.header_flaw(CONF, header(), claims()))
  end)

  it("chooses neither its algorithm nor its key", function()
    for _, case in ipairs {
      { { alg = "none" }, "algorithm not allowed" },
      { { alg = "HS256" }, "algorithm not allowed" },
      { { alg = "rs256" }, "algorithm not allowed" },
      { { alg = NONE }, "algorithm not allowed" },
      { { alg = { "RS256" } }, "algorithm not allowed" },
      { { crit = { "exp" } }, "unknown critical header" },
      { { jku = "https://evil" }, "header not allowed" },
      { { jwk = {} }, "header not allowed" },
      { { x5u = "https://evil" }, "header not allowed" },
      { { x5c = {} }, "header not allowed" },
      { { b64 = false }, "header not allowed" },
      { { zip = "DEF" }, "header not allowed" },
      { { kid = NONE }, "no key id" },
      { { kid = 7 }, "no key id" },
    } do
      assert.equal(case[2], verdict.header_flaw(CONF, header(case[1]), claims()))
    end
  end)

  it("comes with claims of our issuer, before any key is looked up", function()
    for _, issuer in ipairs { "https://id/realms/r/", "https://id/realms/other", "HTTPS://id/realms/r", 7, NONE } do
      assert.equal("wrong issuer", verdict.header_flaw(CONF, header(), claims { iss = issuer }))
    end
    assert.equal("malformed token", verdict.header_flaw(CONF, "text", claims()))
    assert.equal("malformed token", verdict.header_flaw(CONF, header(), 7))
  end)
end)

describe("a published key", function()
  local rsa = { kid = "k", kty = "RSA", use = "sig", n = "n", e = "e", d = "private" }

  it("signs tokens, and only its public members are used", function()
    assert.same({ kty = "RSA", n = "n", e = "e" }, verdict.signing_key(rsa))
    assert.is_not_nil(verdict.signing_key(with(rsa, { use = NONE })))
  end)

  it("is left alone otherwise", function()
    for _, changes in ipairs { { use = "enc" }, { kty = "oct" }, { kid = NONE }, { kid = 7 } } do
      assert.is_nil(verdict.signing_key(with(rsa, changes)))
    end
    assert.is_nil(verdict.signing_key("text"))
  end)

  it("fits the token's algorithm", function()
    assert.is_nil(verdict.key_flaw({ kty = "RSA", alg = "RS256" }, header()))
    assert.is_nil(verdict.key_flaw({ kty = "RSA" }, header()))
    assert.is_not_nil(verdict.key_flaw({ kty = "RSA", alg = "RSA-OAEP" }, header()))
    assert.is_not_nil(verdict.key_flaw({ kty = "EC" }, header()))
    assert.is_not_nil(verdict.key_flaw({ kty = "RSA" }, header { alg = "ES256" }))
  end)

  it("is believed for a limited time without its issuer", function()
    assert.is_false(verdict.too_old(CONF, NOW - 3900, NOW))
    assert.is_true(verdict.too_old(CONF, NOW - 3901, NOW))
  end)
end)

describe("claims", function()
  it("are good", function()
    assert.is_nil(verdict.claims_flaw(CONF, claims(), NOW))
    assert.is_nil(verdict.claims_flaw(CONF, claims { aud = { "other", "api" } }, NOW))
    assert.is_nil(verdict.claims_flaw(CONF, claims { exp = NOW - 4 }, NOW))
    assert.is_nil(verdict.claims_flaw(CONF, claims { nbf = NOW + 5 }, NOW))
  end)

  it("are refused otherwise", function()
    local nan, infinite = 0 / 0, math.huge
    for _, case in ipairs {
      { { exp = NOW - 5 }, "token expired" },
      { { exp = NONE }, "token expired" },
      { { exp = tostring(NOW + 300) }, "token expired" },
      { { exp = nan }, "token expired" },
      { { exp = infinite }, "token expired" },
      { { exp = -1 }, "token expired" },
      { { nbf = NOW + 6 }, "token not yet valid" },
      { { nbf = "0" }, "token not yet valid" },
      { { nbf = nan }, "token not yet valid" },
      { { typ = "ID" }, "not an access token" },
      { { typ = "Refresh" }, "not an access token" },
      { { typ = NONE }, "not an access token" },
      { { aud = "account" }, "wrong audience" },
      { { aud = NONE }, "wrong audience" },
      { { aud = { "apiX" } }, "wrong audience" },
      { { aud = { api = true } }, "wrong audience" },
      { { sub = NONE }, "no subject" },
      { { sub = "" }, "no subject" },
      { { sub = 7 }, "no subject" },
      { { sub = "a\nX-Evil: 1" }, "no subject" },
      { { sub = ("s"):rep(256) }, "no subject" },
    } do
      assert.equal(case[2], verdict.claims_flaw(CONF, claims(case[1]), NOW))
    end
  end)
end)

describe("who calls", function()
  it("counts by tenant", function()
    local who = verdict.identity(CONF, claims())
    assert.same({
      tenant = "acme", subject = "subject-1", roles = "operator,user", client = "agent-runtime-cli", counts_as = "tenant:acme",
    }, who)
  end)

  it("counts by subject as an administrator, who has no tenant", function()
    local who = verdict.identity(CONF, claims { tenant_id = NONE, realm_access = { roles = { "admin" } } })
    assert.equal("subject:subject-1", who.counts_as)
    assert.is_nil(who.tenant)
  end)

  local account = { tenant_id = NONE, azp = "build-0a1b", client_id = "build-0a1b", realm_access = NONE }

  it("counts by client as a service account, whose tenant only the API knows", function()
    local who = verdict.identity(CONF, claims(account))
    assert.equal("client:build-0a1b", who.counts_as)
    assert.is_nil(who.tenant)
    local named = with(CONF, { service_account_prefix = "sa." })
    assert.is_nil(verdict.identity(named, claims(account)))
    assert.is_not_nil(verdict.identity(named, claims(with(account, { azp = "sa.ci", client_id = "sa.ci" }))))
  end)

  it("is refused without a tenant otherwise", function()
    for _, changes in ipairs {
      { tenant_id = NONE },
      { tenant_id = NONE, azp = NONE },
      with(account, { client_id = NONE }),
      with(account, { client_id = "another" }),
      with(account, { azp = NONE }),
      with(account, { sid = "a session: a person" }),
      with(account, { azp = "x\r\nX-Evil: 1", client_id = "x\r\nX-Evil: 1" }),
      { tenant_id = NONE, realm_access = { roles = "admin" } },
      { tenant_id = NONE, realm_access = { roles = { "administrator", "admin\n" } } },
      { tenant_id = "" },
      { tenant_id = "Acme" },
      { tenant_id = "acme\r\nX-Evil: 1" },
      { tenant_id = { "acme" } },
      { tenant_id = 7, realm_access = { roles = { "admin" } } },
      { tenant_id = ("a"):rep(64) },
    } do
      local who, flaw = verdict.identity(CONF, claims(changes))
      assert.is_nil(who)
      assert.equal("no tenant", flaw)
    end
  end)

  it("brings no header that a claim has made up", function()
    local who = verdict.identity(CONF, claims { azp = "evil client", realm_access = { roles = { "user", "a,b", "x\ny", 7 } } })
    assert.equal("user", who.roles)
    assert.is_nil(who.client)
  end)

  it("loses what it said of itself in headers", function()
    local cleared = {}
    for _, name in ipairs(verdict.IDENTITY_HEADERS) do cleared[name] = true end
    for _, name in ipairs { "X-Tenant-Id", "X-User-Id", "X-User-Roles", "X-Auth-Client", "X-Consumer-ID" } do
      assert.is_true(cleared[name])
    end
  end)
end)

describe("a refusal", function()
  it("is a problem that says how to authenticate", function()
    local status, body, headers = verdict.refusal(CONF, 401, "wrong audience", "invalid_token")
    assert.equal(401, status)
    assert.equal("unauthenticated", body.code)
    assert.equal("wrong audience", body.detail)
    assert.equal('Bearer realm="api", error="invalid_token", error_description="wrong audience"', headers["WWW-Authenticate"])
    assert.equal("no-store", headers["Cache-Control"])
    _, _, headers = verdict.refusal(CONF, 401, "no bearer token")
    assert.equal('Bearer realm="api"', headers["WWW-Authenticate"])
  end)

  it("says when to come back, in whole seconds", function()
    local _, body, headers = verdict.refusal(CONF, 503, "identity provider unavailable", "invalid_token")
    assert.equal("10", headers["Retry-After"])
    assert.equal("dependency_unavailable", body.code)
    assert.is_nil(headers["WWW-Authenticate"])
  end)
end)
