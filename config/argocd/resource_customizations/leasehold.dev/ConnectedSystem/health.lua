-- Degraded only where nothing but a change of its own spec helps. A system that does not answer is asked again: Progressing.

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
if ready ~= nil and ready.status == "True" then
  return says("Healthy", ready.message)
end
return says("Progressing", ready and ready.message or "it has not been asked yet")
