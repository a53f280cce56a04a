-- Kong's own errors (404, 413, 429, 502 …) as application/problem+json, whatever the client accepts; the body of an
-- upstream's answer passes untouched.
local cjson   = require "cjson.safe"
local answers = require "kong.plugins.problem-details.answers"

local H = { PRIORITY = 2, VERSION = "0.2.0" }

function H:header_filter()
  local source = kong.response.get_source()
  local problem = answers.replacement(kong.response.get_status(), source, kong.response.get_header("Content-Type"))
  if not problem then
    for name, value in pairs(answers.limits_of_service(source, kong.service.response.get_header)) do
      kong.response.set_header(name, tostring(value))
    end
    return
  end
  local body = cjson.encode(problem)
  kong.ctx.plugin.body = body
  kong.response.set_header("Content-Type", "application/problem+json")
  kong.response.set_header("Content-Length", tostring(#body))
end

function H:body_filter()
  if kong.ctx.plugin.body then
    ngx.arg[1] = not kong.ctx.plugin.sent and kong.ctx.plugin.body or nil
    kong.ctx.plugin.sent = true
    ngx.arg[2] = true
  end
end

return H
