-- How often, one after the other, an attempt of a task instance was taken back because its worker did not begin it.
ALTER TABLE task_instance_extra ADD COLUMN requeues smallint NOT NULL DEFAULT 0;
