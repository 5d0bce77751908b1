//! The project as a whole: its layers, and the product started as a user starts it.

mod bad_input;
mod chaos;
mod layering;
mod pages;
mod readers;
mod stock;
mod trades;
