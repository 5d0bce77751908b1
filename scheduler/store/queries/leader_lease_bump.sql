-- Also tells whether the inbox is empty, so that a lost hint costs a second at most.
UPDATE leader_lease SET seq = seq + 1
FROM leader WHERE leader.epoch = $1
RETURNING EXISTS (SELECT FROM inbox WHERE dead_because IS NULL) AS "waiting!"
