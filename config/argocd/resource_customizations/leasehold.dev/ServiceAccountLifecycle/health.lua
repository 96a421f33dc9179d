-- Degraded only where nothing but a change of its own spec helps. What others have to bring (rights, policies, systems, a
-- standing credential's first lease) is Progressing: in one sync it may come a moment later.
-- A stop is an operator's act, not an error of what Git holds: Healthy, with the stop as its message. Suspended would keep a
-- sync with waves running until the stop is lifted.

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
for _, type in ipairs({ "GrantsAllowed", "PoliciesSatisfied", "WorkflowAllowed" }) do
  local found = condition(type)
  if found ~= nil and found.status ~= "True" then
    return says("Progressing", type .. ": " .. found.message)
  end
end
local leasable = condition("Leasable")
if leasable ~= nil and leasable.status ~= "True" then
  return says("Healthy", "nothing is leased: " .. leasable.message)
end
local standing = condition("StandingReady")
if standing ~= nil and standing.status ~= "True" then
  return says("Progressing", "StandingReady: " .. standing.message)
end
return says("Healthy", "leases may be issued")
