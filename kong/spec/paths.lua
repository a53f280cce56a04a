-- Plugins are found by the names that Kong has for them.
local searchers = package.searchers or package.loaders
table.insert(searchers, 2, function(name)
  local path = name:match("^kong%.plugins%.(.+)$")
  if not path then return nil end
  local file = "plugins/" .. path:gsub("%.", "/") .. ".lua"
  return assert(loadfile(file))
end)
