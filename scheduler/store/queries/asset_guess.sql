-- Assets that schedules name by one word, of which nobody else has said anything.
INSERT INTO asset (name, uri, is_guess)
SELECT DISTINCT w.word, w.word, true
FROM unnest($1::text[]) AS w (word)
WHERE NOT EXISTS (SELECT FROM asset AS a WHERE a.name = w.word)
  AND NOT EXISTS (SELECT FROM asset AS a WHERE a.uri = w.word)
ON CONFLICT (name, uri) DO NOTHING
