-- Fills a template from an environment. Plain Lua: no Kong, no nginx, no library.
--
--   ${NAME}           a value; bare it becomes a JSON string, inside "…" the whole string is encoded: no value adds settings
--   ${NAME:number}    a whole number, bare
--   ${NAME.part}      of a URL: origin, host, port, path, database (the path as a number), tls (a boolean)
--   #if NAME … #end   lines that are there when NAME is set
--   # …               a line of comment is left out

local M = {}

local DEFAULT_PORT = { http = 80, https = 443, redis = 6379, rediss = 6379 }
local ENCRYPTED = { https = true, rediss = true }

local function quote(text)
  local escaped = text:gsub('[%c"\\\127]', function(c)
    if c == '"' or c == "\\" then return "\\" .. c end
    return ("\\u%04x"):format(c:byte())
  end)
  return '"' .. escaped .. '"'
end

-- its parts, or nil and what is wrong
function M.parse_url(text)
  local scheme, rest = text:match("^(%a+)://(.+)$")
  if not scheme or not DEFAULT_PORT[scheme] then
    return nil, "is no http, https, redis or rediss URL"
  end
  local authority, path = rest:match("^([^/?#]*)([^?#]*)$")
  if not authority or authority:find("@", 1, true) then
    return nil, "must have neither a user, nor a query, nor a fragment"
  end
  local host, port = authority:match("^(%[[%x:]+%]):?(%d*)$")
  if not host then
    host, port = authority:match("^([%w%.%-]+):?(%d*)$")
  end
  if not host or authority:sub(-1) == ":" or (port ~= "" and tonumber(port) > 65535) then
    return nil, "names no usable host and port"
  end
  if path:find("[^%w%-%._/]") then
    return nil, "has a path with other characters than letters, digits and -._/"
  end
  return {
    origin = scheme .. "://" .. authority,
    host = host,
    port = port ~= "" and tonumber(port) or DEFAULT_PORT[scheme],
    path = (path:gsub("/+$", "")),
    database = tonumber(path:match("^/(%d+)$") or (path:match("^/?$") and "0") or nil),
    tls = ENCRYPTED[scheme] or false,
  }
end

-- collects what is wrong, so that all of it is told at once
local function reader(lookup)
  local flaws, told = {}, {}

  local function complain(name, what)
    local flaw = name .. " " .. what
    if not told[flaw] then
      told[flaw] = true
      flaws[#flaws + 1] = flaw
    end
    return ""
  end

  local function value(name, part)
    local found = lookup(name)
    if found == nil or found == "" then
      return complain(name, "is not set")
    end
    if part == "" then
      return found
    end
    local url, flaw = M.parse_url(found)
    if not url then
      return complain(name, flaw)
    end
    if url[part] == nil or url[part] == "" then
      return complain(name, "has no " .. part)
    end
    return url[part]
  end

  return value, complain, flaws
end

-- what stands for the text of a string in which placeholders are
local function interpolated(text, value, complain)
  local rest = text:gsub("%${([A-Z][A-Z0-9_]*)%.?([a-z]*)}", "")
  if rest:find("${", 1, true) then
    return complain("the template", "has a placeholder that is not understood: " .. text)
  end
  return quote((text:gsub("%${([A-Z][A-Z0-9_]*)%.?([a-z]*)}", function(name, part)
    return tostring(value(name, part))
  end)))
end

-- what stands for a bare placeholder
local function literal(placeholder, value, complain)
  local name, part = placeholder:match("^%${([A-Z][A-Z0-9_]*)%.?([a-z]*)}$")
  if name then
    local found = value(name, part)
    return type(found) == "string" and quote(found) or tostring(found)
  end
  name = placeholder:match("^%${([A-Z][A-Z0-9_]*):number}$")
  if not name then
    return complain("the template", "has a placeholder that is not understood: " .. placeholder)
  end
  local found = value(name, "")
  if found ~= "" and (#found > 9 or not found:match("^%d+$")) then
    return complain(name, "is no whole number")
  end
  return found
end

-- In one pass from left to right: what a value holds is never looked at again.
local function filled(line, value, complain)
  local done, position = {}, 1
  while true do
    local start = line:find('["$]', position)
    if not start then
      done[#done + 1] = line:sub(position)
      return table.concat(done)
    end
    done[#done + 1] = line:sub(position, start - 1)
    local text = line:match('^"([^"]*)"', start)
    local placeholder = line:match("^%${[^}]*}?", start)
    if text and text:find("${", 1, true) then
      done[#done + 1] = interpolated(text, value, complain)
      position = start + #text + 2
    elseif text then
      done[#done + 1] = '"' .. text .. '"'
      position = start + #text + 2
    elseif placeholder then
      done[#done + 1] = literal(placeholder, value, complain)
      position = start + #placeholder
    else
      done[#done + 1] = line:sub(start, start)
      position = start + 1
    end
  end
end

-- the text, or nil and what is wrong, one text each
function M.render(template, lookup)
  local value, complain, flaws = reader(lookup)
  local lines, conditions, skipped = {}, 0, nil
  for line in (template:gsub("\n?$", "\n")):gmatch("([^\n]*)\n") do
    local condition = line:match("^%s*#if%s+([A-Z][A-Z0-9_]*)%s*$")
    if condition then
      conditions = conditions + 1
      local set = lookup(condition)
      if not skipped and (set == nil or set == "") then
        skipped = conditions
      end
    elseif line:match("^%s*#end%s*$") then
      if conditions == skipped then
        skipped = nil
      end
      conditions = conditions - 1
    elseif not skipped and not line:match("^%s*#") then
      lines[#lines + 1] = filled(line, value, complain)
    end
  end
  if conditions ~= 0 then
    flaws[#flaws + 1] = "the template has an #if or an #end too many"
  end
  if #flaws > 0 then
    return nil, flaws
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
