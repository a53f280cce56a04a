-- resty render.lua kong.yml > /tmp/kong.yml   (luajit and lua5.1 run it too)
-- What is unset or unusable goes to standard error, all of it, and the exit code is 1.
package.path = (arg[0]:match("^(.*/)") or "./") .. "?.lua;" .. package.path
local rendering = require "rendering"

local function content(path)
  local file, flaw = io.open(path, "rb")
  if not file then
    io.stderr:write("cannot read ", flaw, "\n")
    os.exit(1)
  end
  local text = file:read("*a")
  file:close()
  return text
end

-- a secret X may stand in the file that X_FILE names, as for the other programs
local function lookup(name)
  local value = os.getenv(name)
  if value ~= nil and value ~= "" then
    return value
  end
  local path = os.getenv(name .. "_FILE")
  if path ~= nil and path ~= "" then
    return (content(path):gsub("[\r\n]+$", ""))
  end
end

local text, flaws = rendering.render(content(arg[1]), lookup)
if not text then
  io.stderr:write("the gateway's configuration cannot be made:\n  ", table.concat(flaws, "\n  "), "\n")
  os.exit(1)
end
io.write(text)
