//! Planted bugs: how many of them the tests of the engine and the store find.
//!
//! `cargo run -p windlass-mutants [-- NAME…]` plants each bug of `mutants.txt` (or those whose name has one of these texts in it) in
//! a copy of the project, `target/mutants`, and runs the tests that can meet it: the simulation first, then what else there
//! is. It ends with 1 unless 95 of 100 are found, half of the engine's by the simulation, and with 2 when one can not be built.
//!
//! `WINDLASS_SIM_HISTORIES` says how many histories the simulation plays (500). Bugs of the store need
//! `WINDLASS_TEST_DATABASE_URL`, as the store's tests do, and are left out without it.

#![allow(clippy::print_stdout, reason = "it is a command, and says what it finds")]

mod list;
mod workshop;

use std::{path::Path, process::ExitCode, time::Instant};

use anyhow::Context;
use list::Mutant;
use sqlx::{Connection, Executor, PgConnection};
use workshop::{Outcome, Suite, Workshop};

const HISTORIES: u64 = 500;
/// Of a hundred bugs so many are to be found.
const FOUND_MIN: usize = 95;
/// Of a hundred bugs of the engine so many are to be found by the simulation.
const SIMULATED_MIN: usize = 50;
/// The database that statements with a bug are checked against.
const DATABASE: &str = "windlass_mutants";

/// The folder of the project.
pub fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What came of a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Found(Suite),
    Survived,
    NotBuilt,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let histories = std::env::var("WINDLASS_SIM_HISTORIES").map_or(Ok(HISTORIES), |text| text.parse());
    let database = match std::env::var("WINDLASS_TEST_DATABASE_URL") {
        Ok(url) => Some(database(&url).await?),
        Err(_) => None,
    };
    let has_database = database.is_some();
    let workshop = Workshop::open(histories.context("WINDLASS_SIM_HISTORIES is a number")?, database).await?;
    let is_wanted =
        |mutant: &Mutant| wanted.is_empty() || wanted.iter().any(|text| mutant.name.contains(text.as_str()));
    let mutants: Vec<Mutant> = list::listed()?.into_iter().filter(is_wanted).collect();
    let (mutants, left_out): (Vec<_>, Vec<_>) =
        mutants.into_iter().partition(|mutant| has_database || !mutant.is_of_store());
    if !left_out.is_empty() {
        println!("{} bugs of the store are left out: WINDLASS_TEST_DATABASE_URL is not set", left_out.len());
    }
    let mut fates = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let start = Instant::now();
        let fate = workshop.with(mutant, fate(&workshop, mutant)).await?;
        let said = match fate {
            Fate::Found(suite) => format!("found by the {}", suite.name()),
            Fate::Survived => "SURVIVED".to_owned(),
            Fate::NotBuilt => "NOT BUILT".to_owned(),
        };
        let (secs, file) = (start.elapsed().as_secs(), mutant.file.display());
        println!("{:3}/{} {said} in {secs} s: {} ({file})", number + 1, mutants.len(), mutant.name);
        fates.push((mutant.is_of_store(), fate));
    }
    Ok(verdict(&fates))
}

async fn fate(workshop: &Workshop, mutant: &Mutant) -> anyhow::Result<Fate> {
    for suite in Suite::of(mutant) {
        match workshop.run(*suite, mutant.is_sql()).await? {
            Outcome::Passed => {}
            Outcome::Failed => return Ok(Fate::Found(*suite)),
            Outcome::NotBuilt => return Ok(Fate::NotBuilt),
        }
    }
    Ok(Fate::Survived)
}

fn verdict(fates: &[(bool, Fate)]) -> ExitCode {
    let count = |is_meant: &dyn Fn(&(bool, Fate)) -> bool| fates.iter().filter(|fate| is_meant(fate)).count();
    let found = count(&|(_, fate)| matches!(fate, Fate::Found(_)));
    let simulated = count(&|(_, fate)| *fate == Fate::Found(Suite::Simulation));
    let (of_engine, not_built) = (count(&|(is_of_store, _)| !is_of_store), count(&|(_, fate)| *fate == Fate::NotBuilt));
    println!("{found} of {} are found; of the engine's {of_engine} the simulation finds {simulated}", fates.len());
    if not_built > 0 {
        println!("{not_built} can not be built");
        return ExitCode::from(2);
    }
    let is_enough = found * 100 >= fates.len() * FOUND_MIN && simulated * 100 >= of_engine * SIMULATED_MIN;
    if is_enough { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A database with the schema, made anew.
async fn database(url: &str) -> anyhow::Result<String> {
    let mut server = PgConnection::connect(url).await?;
    server.execute(format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)").as_str()).await?;
    server.execute(format!("CREATE DATABASE {DATABASE}").as_str()).await?;
    let (base, _) = url.rsplit_once('/').context("WINDLASS_TEST_DATABASE_URL names a database")?;
    let own = format!("{base}/{DATABASE}");
    let schema = std::fs::read_to_string(project().join("scheduler/store/schema.sql"))?;
    PgConnection::connect(&own).await?.execute(schema.as_str()).await?;
    Ok(own)
}
