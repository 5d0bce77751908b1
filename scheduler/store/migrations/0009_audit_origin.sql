SET LOCAL lock_timeout = '2s';

-- From where something was asked, by which door (ui, api, cli), and what came of it: lines of older versions have none.
-- A command's line is written when it is asked (outcome 'asked') and gets its answer's word; a command has its line's number.
ALTER TABLE audit_log ADD COLUMN address text;
ALTER TABLE audit_log ADD COLUMN door text;
ALTER TABLE audit_log ADD COLUMN outcome text;

-- Whoever answers a command, its line says how: in the transaction of the answer, whichever statement writes it.
CREATE FUNCTION note_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE audit_log SET outcome = NEW.status WHERE id = NEW.command_id AND outcome = 'asked';
    RETURN NULL;
END
$$;
CREATE TRIGGER inbox_answer_note_outcome AFTER INSERT ON inbox_answer FOR EACH ROW EXECUTE FUNCTION note_outcome();
