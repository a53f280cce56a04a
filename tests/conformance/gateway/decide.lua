-- luajit decide.lua <folder of kong>: lets another program call the plain modules of the plugins. A line of JSON comes in,
-- [module, member, arguments …], and the results go out as one: so that reference.py decides with the code that Kong runs.
package.path = arg[1] .. "/plugins/?.lua;" .. package.path
local cjson = require "cjson"

for line in io.lines() do
  local call = cjson.decode(line)
  local given = {}
  for place = 3, #call do
    given[place - 2] = call[place] ~= cjson.null and call[place] or nil
  end
  local member = require(call[1])[call[2]]
  local results = type(member) == "function" and { member(unpack(given, 1, #call - 2)) } or { member }
  local answered = {}
  for place = 1, 3 do
    answered[place] = results[place] == nil and cjson.null or results[place]
  end
  io.write(cjson.encode(answered), "\n")
  io.flush()
end
