local answers = require "kong.plugins.problem-details.answers"

describe("an error of Kong's own", function()
  it("becomes a problem with the API's code", function()
    for status, code in pairs {
      [404] = "not_found", [413] = "payload_too_large", [417] = "payload_too_large", [429] = "rate_limited",
      [502] = "dependency_unavailable", [503] = "dependency_unavailable", [504] = "dependency_unavailable", [418] = "invalid_request",
      [599] = "internal",
    } do
      local problem = answers.replacement(status, "exit", "application/json; charset=utf-8")
      assert.equal(code, problem.code)
      assert.equal(status, problem.status)
      assert.equal("urn:agent-runtime:problem:" .. code, problem.type)
    end
  end)

  it("is left alone when it is none, or a problem already", function()
    assert.is_nil(answers.replacement(200, "exit", "text/plain"))
    assert.is_nil(answers.replacement(404, "service", "text/plain"))
    assert.is_nil(answers.replacement(401, "exit", "application/problem+json"))
  end)
end)

describe("limits", function()
  local function upstream(fields) return function(name) return fields[name] end end

  it("are the API's where it names some", function()
    local plan = { ["RateLimit-Limit"] = "5", ["RateLimit-Remaining"] = "0", ["RateLimit-Reset"] = "1" }
    assert.same(plan, answers.limits_of_service("service", upstream(plan)))
  end)

  it("are the gateway's otherwise", function()
    assert.same({}, answers.limits_of_service("service", upstream {}))
    assert.same({}, answers.limits_of_service("exit", upstream { ["RateLimit-Limit"] = "5" }))
  end)
end)
