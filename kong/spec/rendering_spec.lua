local rendering = require "rendering"

local function render(template, environment)
  return rendering.render(template, function(name) return environment[name] end)
end

describe("rendering", function()
  it("makes a JSON string of a value, whatever is in it", function()
    local hostile = 'x"\n  - name: evil # ${OTHER} \\ \127'
    assert.equal('key: "x\\"\\u000a  - name: evil # ${OTHER} \\\\ \\u007f"\n', render("key: ${NAME}", { NAME = hostile, OTHER = "no" }))
    assert.equal('key: ["~x\\"y/z"]\n', render('key: ["~${NAME}/z"]', { NAME = 'x"y' }))
    assert.equal('password: "12345"\n', render("password: ${NAME}", { NAME = "12345" }))
  end)

  it("takes whole numbers only where a number is wanted", function()
    assert.equal("minute: 600\n", render("minute: ${N:number}", { N = "600" }))
    for _, wrong in ipairs { "-1", "1e3", "6 0", "0x10", "1, evil: 2", "1234567890" } do
      local text, flaws = render("minute: ${N:number}", { N = wrong })
      assert.is_nil(text)
      assert.same({ "N is no whole number" }, flaws)
    end
  end)

  it("names everything that is not set, once", function()
    local text, flaws = render('a: ${ONE}\nb: "${TWO.host}/${ONE}"\nc: ${THREE:number}', { THREE = "" })
    assert.is_nil(text)
    assert.same({ "ONE is not set", "TWO is not set", "THREE is not set" }, flaws)
  end)

  it("takes URLs apart", function()
    local url = { U = "https://example.com:8443/realms/x/" }
    assert.equal('a: "example.com"\n', render("a: ${U.host}", url))
    assert.equal("a: 8443\n", render("a: ${U.port}", url))
    assert.equal('a: ["/realms/x/"]\n', render('a: ["${U.path}/"]', url))
    assert.equal('a: "https://example.com:8443"\n', render("a: ${U.origin}", url))
    assert.equal("a: true\n", render("a: ${U.tls}", url))
    assert.equal("a: 6379 0 false\n", render("a: ${R.port} ${R.database} ${R.tls}", { R = "redis://cache" }))
    assert.equal("a: 3\n", render("a: ${R.database}", { R = "rediss://cache:1/3" }))
    assert.equal('a: "[::1]"\n', render("a: ${R.host}", { R = "redis://[::1]:1/3" }))
  end)

  it("refuses what is no URL, or holds what a URL must not", function()
    for _, wrong in ipairs {
      "example.com", "ftp://x", "http://", "http://user:word@x", "http://x:99999", "http://x:", "http://x y", "http://x/?q", "http://x/#f",
      'http://x/"', "http://x:1:2", "http:///x",
    } do
      local text, flaws = render("a: ${U.host}", { U = wrong })
      assert.is_nil(text, wrong)
      assert.equal(1, #flaws)
    end
    local _, flaws = render("a: ${U.path}", { U = "http://x/" })
    assert.same({ "U has no path" }, flaws)
    _, flaws = render("a: ${U.colour}", { U = "http://x/" })
    assert.same({ "U has no colour" }, flaws)
  end)

  it("leaves out what nobody asked for, without asking for its variables", function()
    local template = "a\n#if ASKED\n  b: ${ASKED}\n  #if MORE\n  c: ${MORE}\n  #end\n#end\nd # kept\n# comment"
    assert.equal("a\nd # kept\n", render(template, {}))
    assert.equal('a\n  b: "1"\nd # kept\n', render(template, { ASKED = "1" }))
    assert.equal('a\n  b: "1"\n  c: "2"\nd # kept\n', render(template, { ASKED = "1", MORE = "2" }))
    assert.equal("a\nd # kept\n", render(template, { MORE = "2" }))
  end)

  it("refuses a template that it does not understand", function()
    assert.is_nil(render("#if A\nx", {}))
    assert.is_nil(render("x\n#end", {}))
    assert.is_nil(render("x: ${A:colour}", { A = "1" }))
  end)
end)
