//! Effective weights: a task's own and those of everything after or before it, each once, within 32 bits.
//!
//! Who comes after whom is the transitive closure of the graph. It is kept as bits, for some thousand tasks at a time:
//! the lists that petgraph makes of it have as many entries as pairs, gigabytes for the largest DAG.

use model::WeightRule;

use crate::compiled::{Task, TaskPos};

/// How many words of 64 tasks are looked at together.
const WORDS_MAX: usize = 64;

/// Fills in the effective weights. The tasks are in topological order.
pub(super) fn weigh(tasks: &mut [Task]) {
    let has = |rule| tasks.iter().any(|task| task.weight_rule == rule);
    let last = tasks.len().saturating_sub(1);
    let mut own: Vec<i64> = tasks.iter().map(|task| i64::from(task.priority_weight)).collect();
    let absolute = own.clone();
    let after = if has(WeightRule::Downstream) {
        sums(&own, |task| tasks[task].downstream.iter().map(|TaskPos(next)| *next))
    } else {
        Vec::new()
    };
    let before = if has(WeightRule::Upstream) {
        // Seen from the end, what comes before comes after.
        own.reverse();
        sums(&own, |task| tasks[last - task].upstream.iter().map(|TaskPos(next)| last - *next))
    } else {
        Vec::new()
    };
    for (pos, task) in tasks.iter_mut().enumerate() {
        let sum = match task.weight_rule {
            WeightRule::Downstream => after[pos],
            WeightRule::Upstream => before[last - pos],
            WeightRule::Absolute => absolute[pos],
        };
        task.effective_weight = i32::try_from(sum.clamp(i32::MIN.into(), i32::MAX.into())).expect("the sum is clamped");
    }
}

/// For each task the sum of its weight and of those that can be reached from it; `next` gives larger indices only.
fn sums<I: Iterator<Item = usize>>(weights: &[i64], next: impl Fn(usize) -> I) -> Vec<i64> {
    let mut sums = vec![0; weights.len()];
    for start in (0..weights.len()).step_by(WORDS_MAX * 64) {
        let block = &weights[start..weights.len().min(start + WORDS_MAX * 64)];
        let words: Vec<WordSum> = block.chunks(64).map(WordSum::new).collect();
        let width = words.len();
        // What comes after the block reaches nothing in it.
        let rows_end = start + block.len();
        let mut rows = vec![0_u64; rows_end * width];
        for task in (0..rows_end).rev() {
            let (until, after) = rows.split_at_mut((task + 1) * width);
            let row = &mut until[task * width..];
            for reached in next(task).filter(|reached| *reached < rows_end) {
                let from = (reached - task - 1) * width;
                row.iter_mut().zip(&after[from..from + width]).for_each(|(bits, more)| *bits |= more);
            }
            if let Some(index) = task.checked_sub(start) {
                row[index / 64] |= 1 << (index % 64);
            }
            sums[task] += row.iter().zip(&words).map(|(bits, word)| word.of(*bits)).sum::<i64>();
        }
    }
    sums
}

/// The sum of the weights that a word's bits name.
enum WordSum {
    /// All weights are the same.
    Equal(i64),
    /// The sum for each value of each byte.
    Bytes(Box<[[i64; 256]; 8]>),
}

impl WordSum {
    fn new(weights: &[i64]) -> Self {
        if weights.iter().all(|weight| *weight == weights[0]) {
            return Self::Equal(weights[0]);
        }
        let mut bytes = Box::new([[0; 256]; 8]);
        for (byte, sums) in bytes.iter_mut().enumerate() {
            let weight = |bit: usize| weights.get(byte * 8 + bit).copied().unwrap_or(0);
            for value in 1..256_usize {
                let lowest = value.trailing_zeros() as usize;
                sums[value] = sums[value & (value - 1)] + weight(lowest);
            }
        }
        Self::Bytes(bytes)
    }

    fn of(&self, bits: u64) -> i64 {
        match self {
            _ if bits == 0 => 0,
            Self::Equal(weight) => weight * i64::from(bits.count_ones()),
            Self::Bytes(sums) => {
                bits.to_le_bytes().iter().zip(sums.iter()).map(|(byte, sums)| sums[usize::from(*byte)]).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sums as their definition says: everything that can be reached, each once.
    fn by_walking(weights: &[i64], next: &[Vec<usize>]) -> Vec<i64> {
        let sum = |start: usize| {
            let mut seen = std::collections::BTreeSet::from([start]);
            let mut open = vec![start];
            while let Some(task) = open.pop() {
                open.extend(next[task].iter().copied().filter(|next| seen.insert(*next)));
            }
            seen.into_iter().map(|task| weights[task]).sum()
        };
        (0..weights.len()).map(sum).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_task_that_is_reached_counts_once(
            weights in prop::collection::vec(prop_oneof![Just(1_i64), -3_i64..9], 1..300),
            pairs in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..600),
        ) {
            let mut next = vec![Vec::new(); weights.len()];
            for (a, b) in pairs {
                let (a, b) = (a.index(weights.len()), b.index(weights.len()));
                if a != b {
                    next[a.min(b)].push(a.max(b));
                }
            }
            prop_assert_eq!(sums(&weights, |task| next[task].iter().copied()), by_walking(&weights, &next));
        }
    }

    #[test]
    fn a_chain_longer_than_a_block_is_summed_over_all_blocks() {
        let tasks = WORDS_MAX * 64 * 2 + 100;
        let weights: Vec<i64> = (0..tasks).map(|task| (task % 3) as i64).collect();
        let next = |task: usize| (task + 1)..(task + 2).min(tasks);
        let sums = sums(&weights, next);
        assert_eq!(sums[0], weights.iter().sum::<i64>());
        assert!((0..tasks - 1).all(|task| sums[task] == weights[task] + sums[task + 1]));
    }
}
