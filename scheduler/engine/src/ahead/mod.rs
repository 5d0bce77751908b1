//! The engine ahead of the clock: turns in simulated time, with rows in memory in the place of the store.
//!
//! **What is here.** [`Tables`] are the rows that decide, in memory: a plan is applied to them as PostgreSQL would, and they
//! answer what the engine asks of its store. [`Ahead`] is an engine on such tables with a clock of its own, which goes from
//! one thing that happens to the next. What becomes of an attempt is told by [`Fates`]: by a file in `dags simulate`, by
//! what was learnt of earlier runs in a forecast.
//!
//! **What always holds.** It is the same engine: every decision here is one that a leader would take of the same rows, the same
//! events and the same instants. Nothing here reads a clock or draws a number, so a simulation has one outcome. What it may cost
//! is bounded by turns and by an instant, whatever the DAGs ask for.
//!
//! **After a crash** nothing is left of it, and nothing was meant to be.

mod drive;
mod fate;
pub mod forecast;
mod happenings;
pub mod simulate;
mod tables;

pub use drive::{Ahead, Bounds, Step};
pub use fate::{Fate, Fates, Start, looks_again};
pub use happenings::Over;
pub use tables::Tables;
