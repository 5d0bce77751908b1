SET LOCAL lock_timeout = '2s';

-- The epoch that has taken a command to decide it: while that epoch is in force, the command can not be withdrawn.
ALTER TABLE inbox ADD COLUMN delivered_epoch bigint;
-- Commands that come in floods (new runs) wait behind those that are few and that somebody waits for.
ALTER TABLE inbox ADD COLUMN is_bulk boolean NOT NULL DEFAULT false;
