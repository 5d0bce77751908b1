-- Sensors that look again later: since when, in this try, and how often they have been put off.
ALTER TABLE task_instance_extra ADD COLUMN first_poke_at timestamptz;
ALTER TABLE task_instance_extra ADD COLUMN reschedules int NOT NULL DEFAULT 0;
