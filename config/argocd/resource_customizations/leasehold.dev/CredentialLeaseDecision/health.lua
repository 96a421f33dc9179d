-- One person's word: it never changes, and nothing becomes of it but what its lease says.
return { status = "Healthy", message = obj.spec.decision .. " by " .. obj.spec.decidedBy.username }
