-- A lease that ended well is Healthy: it has done what it was made for. Denied and Failed are Degraded.
-- Suspended where time or people decide, and nobody can say when.
local suspended = { AwaitingApproval = true, Scheduled = true }

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
local phase = obj.status.phase or "Pending"
local stalled = condition("Stalled")
if stalled ~= nil and stalled.status == "True" then
  return says("Degraded", phase .. ": " .. stalled.message)
end
local moving = condition("Reconciling")
if moving ~= nil and moving.status == "True" then
  return says(suspended[phase] and "Suspended" or "Progressing", phase .. ": " .. moving.message)
end
local active = condition("Active")
return says("Healthy", active and phase .. ": " .. active.message or phase)
