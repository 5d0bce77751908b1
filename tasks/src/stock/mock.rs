//! Made-up trades: each symbol's price walks randomly, by geometric Brownian motion.
//!
//! The walk follows from the seed alone. Trade ids also carry when the walk was started, so that a restarted producer
//! makes new trades, not repeats.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The standard deviation of one step: some 2 % over a day of a trade every ten seconds.
const STEP_SIGMA: f64 = 0.0004;
/// Prices stay where cents matter and doubles are exact to the cent.
const PRICE_RANGE: std::ops::RangeInclusive<f64> = 1.0..=1_000_000.0;
const SIZE_MAX: i64 = 1_000;

/// One made-up trade.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MockTrade {
    pub(super) symbol: String,
    pub(super) price: f64,
    pub(super) size: i64,
    pub(super) trade_id: String,
}

/// The walks of all symbols.
pub(super) struct MockMarket {
    random: StdRng,
    symbols: Vec<(String, f64)>,
    started_micros: i64,
    made: u64,
}

impl MockMarket {
    pub(super) fn new(seed: u64, symbols: &[String], started_micros: i64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let symbols = symbols.iter().map(|symbol| (symbol.clone(), random.random_range(50.0..500.0))).collect();
        Self { random, symbols, started_micros, made: 0 }
    }

    /// The next trade, of any symbol.
    pub(super) fn next(&mut self) -> MockTrade {
        let chosen = self.random.random_range(0..self.symbols.len());
        let step = self.normal() * STEP_SIGMA - STEP_SIGMA * STEP_SIGMA / 2.0;
        let size = self.random.random_range(1..=SIZE_MAX);
        self.made += 1;
        let (symbol, price) = &mut self.symbols[chosen];
        *price = (*price * step.exp()).clamp(*PRICE_RANGE.start(), *PRICE_RANGE.end());
        MockTrade {
            trade_id: format!("{symbol}-{:x}-{}", self.started_micros, self.made),
            symbol: symbol.clone(),
            price: (*price * 100.0).round() / 100.0,
            size,
        }
    }

    /// A normally distributed number, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.random.random::<f64>()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.random.random::<f64>()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(seed: u64, started: i64) -> Vec<MockTrade> {
        let mut market = MockMarket::new(seed, &["A".to_owned(), "B".to_owned()], started);
        (0..10_000).map(|_| market.next()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_walk_with_new_trade_ids() {
        let (one, again) = (walk(42, 1), walk(42, 2));
        assert!(one.iter().zip(&again).all(|(a, b)| a.price == b.price && a.symbol == b.symbol));
        assert!(one.iter().zip(&again).all(|(a, b)| a.trade_id != b.trade_id));
        assert_ne!(walk(43, 1)[0].price, one[0].price);
    }

    #[test]
    fn prices_move_a_little_and_never_leave_what_a_trade_can_be() {
        for pair in walk(7, 1).iter().filter(|trade| trade.symbol == "A").collect::<Vec<_>>().windows(2) {
            assert!((pair[1].price / pair[0].price - 1.0).abs() < 0.01);
            assert!(pair[1].price > 0.0 && pair[1].size > 0);
        }
    }
}
