-- Also tells how many commands wait in the inbox, which has a bound of its own, so that a lost hint costs a second at most,
-- and what the database's clock says.
UPDATE leader_lease SET seq = seq + 1
FROM leader WHERE leader.epoch = $1
RETURNING (SELECT count(*) FROM inbox WHERE dead_because IS NULL) AS "waiting!", clock_timestamp() AS "now!"
