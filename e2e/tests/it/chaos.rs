//! Killed at will: whatever dies during a replay, gold is exact, bronze has each message once, and nothing is left over.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use windlass_e2e::{Standalone, StandaloneBuilder, processes};

use crate::trades::{GOLD, make_up};

// Programs that are not optimised take five times as long for each.
const ROWS: usize = if cfg!(debug_assertions) { 80_000 } else { 400_000 };
const KILLS: usize = 8;

#[derive(Debug, Clone, Copy)]
enum Victim {
    Sink,
    Producer,
    Worker,
    Leader,
    All,
}

/// A small generator: the seed is printed, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn victim(&mut self) -> Victim {
        match self.roll(5) {
            0 => Victim::Sink,
            1 => Victim::Producer,
            2 => Victim::Worker,
            3 => Victim::Leader,
            _ => Victim::All,
        }
    }
}

fn kill_one(standalone: &mut Standalone, victim: Victim) {
    let processes = match victim {
        Victim::Sink => standalone.processes_of("bronze-sink"),
        Victim::Producer => standalone.processes_of("stock-producer"),
        Victim::Worker => standalone.processes_of("windlass worker"),
        Victim::Leader | Victim::All => Vec::new(),
    };
    for process in &processes {
        processes::kill_now(process);
    }
    match victim {
        Victim::Sink | Victim::Producer | Victim::Worker => {}
        Victim::Leader => {
            standalone.kill_leader();
            standalone.start_again();
        }
        Victim::All => {
            standalone.kill_all();
            standalone.start_again();
        }
    }
}

fn replay_under_fire(seed: u64, rows: usize, kills: usize) {
    println!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trades.csv");
    let made = make_up(&file, rows);
    let mut standalone = start(&file);
    let _said = standalone.windlass(&["dags", "unpause", "stock_data_pipeline"]);
    let _said = standalone.windlass(&["dags", "trigger", "stock_data_pipeline"]);
    let mut dice = Dice(seed);
    for _ in 0..kills {
        // Time has to pass between two kills: where in the work they fall is the point of the test.
        std::thread::park_timeout(Duration::from_millis(300 + dice.roll(2_500)));
        let victim = dice.victim();
        println!("kill {victim:?}");
        kill_one(&mut standalone, victim);
    }
    let _said = standalone.windlass(&["dags", "trigger", "stock_data_pipeline", "--wait"]);
    assert_eq!(standalone.query(GOLD), made.gold);
    assert_eq!(standalone.value("SELECT count(*) FROM bronze.stock_trades_dlq"), "0");
    let twice = "SELECT count(*) FROM (SELECT kafka_partition, kafka_offset FROM bronze.stock_trades \
                 GROUP BY kafka_partition, kafka_offset HAVING count(*) > 1) AS twice";
    assert_eq!(standalone.value(twice), "0");
    let distinct = "SELECT count(DISTINCT trade_id) FROM bronze.stock_trades";
    assert_eq!(standalone.value(distinct), made.rows.to_string());
    standalone.stop();
    assert!(standalone.processes().is_empty(), "left over: {:?}", standalone.processes());
}

fn start(file: &Path) -> Standalone {
    StandaloneBuilder::new()
        .env("STOCK_SOURCE", format!("replay:{}", file.display()))
        .env("STOCK_REPLAY_SPEED", "0")
        .env("STOCK_SINK_MAX_ROWS", "20000")
        .env("STOCK_SINK_MAX_SECONDS", "1")
        .start()
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64
}

#[test]
fn gold_is_exact_after_kills_at_random_times() {
    replay_under_fire(seed_of_now(), ROWS, KILLS);
}

#[test]
#[ignore = "long: part of the full set"]
fn gold_is_exact_after_kills_at_random_times_again_and_again() {
    for round in 0..5 {
        replay_under_fire(seed_of_now() + round, ROWS, 2 * KILLS);
    }
}
