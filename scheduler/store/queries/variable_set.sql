INSERT INTO variable (key, value_sealed, description)
VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET value_sealed = excluded.value_sealed, description = excluded.description
