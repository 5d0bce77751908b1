UPDATE user_account SET password_hash = $2 WHERE username = $1 RETURNING provider IS NOT NULL AS "is_of_provider!"
