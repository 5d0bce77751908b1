SET LOCAL lock_timeout = '2s';

-- The line that a mistake is in, so that a page can show it wherever its web process runs.
ALTER TABLE import_error ADD COLUMN excerpt text;
