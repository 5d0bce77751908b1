-- What an instance of an expanded task is called among the others. How many elements a task has left for such tasks is in
-- map_length, which was there from the beginning.
ALTER TABLE task_instance_extra ADD COLUMN rendered_map_index text;
