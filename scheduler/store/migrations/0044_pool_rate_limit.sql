-- How many attempts of a pool may start in a span of time, such as 10/1m, and when the last ones did that this counts.
ALTER TABLE pool ADD COLUMN rate_limit text;
ALTER TABLE pool ADD COLUMN recent_starts timestamptz[] NOT NULL DEFAULT '{}';
