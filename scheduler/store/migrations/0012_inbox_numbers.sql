SET LOCAL lock_timeout = '2s';

-- A command has the number of its line in the audit log. Api processes of the version before number theirs by the inbox's own
-- sequence, from 1 on: those numbers would meet numbers of the audit log (a key that is taken, the outcome of one command in
-- the line of another). Far beyond them they meet none, and stay exact in JavaScript.
SELECT setval(pg_get_serial_sequence('inbox', 'id'), 1::bigint << 52);
