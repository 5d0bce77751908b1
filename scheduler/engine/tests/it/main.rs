//! The engine from outside: stories, a seeded simulation against a second implementation, and its speed.

extern crate windlass_engine as engine;

mod dags;
mod mirror;
mod reference;
mod simulation;
mod speed;
mod stories;
mod whys;
mod world;
