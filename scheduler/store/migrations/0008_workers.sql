SET LOCAL lock_timeout = '2s';

-- When the last loss of a worker that counted happened: losses close to it have the same cause, and count with it.
ALTER TABLE task_instance_extra ADD COLUMN lost_at timestamptz;
