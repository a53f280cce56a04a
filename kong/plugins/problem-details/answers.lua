-- What Kong's own errors are answered with. Plain Lua: no Kong, no nginx, no library.

local M = {}

local NOT_REACHED = { "A part that this needs does not answer", "dependency_unavailable" }
-- titles and codes of the API where it has the same error
local KNOWN = {
  [400] = { "The request is not valid", "invalid_request" },
  [401] = { "The caller is not known", "unauthenticated" },
  [403] = { "The caller may not do this", "forbidden" },
  [404] = { "There is no such thing", "not_found" },
  [405] = { "The method is not allowed here", "method_not_allowed" },
  [408] = { "The request took too long to arrive", "request_timeout" },
  [411] = { "The request needs a Content-Length", "length_required" },
  [413] = { "The request is too large", "payload_too_large" },
  [414] = { "The path is too long", "uri_too_long" },
  [417] = { "The request is too large", "payload_too_large" },
  [426] = { "This needs https", "upgrade_required" },
  [429] = { "Too many requests", "rate_limited" },
  [431] = { "The headers are too large", "headers_too_large" },
  [494] = { "The headers are too large", "headers_too_large" },
  [500] = { "Something went wrong here", "internal" },
  [502] = NOT_REACHED,
  [503] = NOT_REACHED,
  [504] = NOT_REACHED,
}

-- the fields that Kong's rate-limiting writes beside those of the upstream
M.LIMIT_FIELDS = { "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset" }

-- the problem that stands in for an answer, as a table; nil when the answer is to be left alone
function M.replacement(status, source, content_type)
  if status < 400 or source == "service" or content_type == "application/problem+json" then
    return nil
  end
  local known = KNOWN[status] or { "Error", status < 500 and "invalid_request" or "internal" }
  local detail = "The gateway answered this; the API did not see the request."
  if status >= 502 then
    detail = "The gateway got no answer in time. Try again in a moment."
  end
  return {
    type = "urn:agent-runtime:problem:" .. known[2], title = known[1], status = status, detail = detail, code = known[2],
  }
end

-- Fields to set to what the upstream said: its own limits (a plan's) are narrower than the gateway's ceiling, and a
-- client must not read two values. `of_service` gives a field of the upstream's answer.
function M.limits_of_service(source, of_service)
  local fields = {}
  if source ~= "service" or not of_service(M.LIMIT_FIELDS[1]) then
    return fields
  end
  for _, name in ipairs(M.LIMIT_FIELDS) do
    fields[name] = of_service(name)
  end
  return fields
end

return M
