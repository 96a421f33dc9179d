-- Degraded only where nothing but a change of its own spec helps. A stop, and lifecycles that violate it, are said, and turn
-- nothing red: the policy itself does what it says.

local function condition(type)
  for _, found in ipairs(obj.status.conditions or {}) do
    if found.type == type then
      return found
    end
  end
end

local function says(health, message)
  return { status = health, message = message }
end

if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return says("Progressing", "the operator has not looked at it yet")
end
local stalled = condition("Stalled")
if stalled ~= nil and stalled.status == "True" then
  return says("Degraded", stalled.message)
end
local ready = condition("Ready")
if ready == nil or ready.status ~= "True" then
  return says("Progressing", ready and ready.message or "not accepted yet")
end
local stop = obj.spec.stopPolicy or "None"
if stop ~= "None" then
  return says("Healthy", "it stops what it guards: " .. stop)
end
if (obj.status.violating or 0) > 0 then
  return says("Healthy", obj.status.violating .. " lifecycles grant what it forbids")
end
return says("Healthy", ready.message)
