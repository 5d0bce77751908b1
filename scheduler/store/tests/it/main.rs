//! The store against a real PostgreSQL: the server that `WINDLASS_TEST_DATABASE_URL` names, a database a test.

mod inbox;
mod leadership;
mod plans;
mod schema;
mod secrets;
mod support;
mod turns;
mod versions;
