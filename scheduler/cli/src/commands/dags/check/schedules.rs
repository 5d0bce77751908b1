//! When the next runs come, and schedules from which none comes.

use dag::{Catchup, Dag, Schedule};
use engine::timetable::{self, Restriction};
use model::Timestamp;

use super::Remarks;

/// The next runs that a schedule asks for from now on, at most so many. Missed ones are not among them.
pub(super) fn next(dag: &Dag, now: Timestamp, most: usize) -> Vec<Timestamp> {
    let bounds = Restriction { earliest: dag.start_date, latest: dag.end_date, catchup: Catchup::Latest };
    let mut ticks = Vec::new();
    let (mut last, mut at) = (None, now);
    while ticks.len() < most {
        let Some(due) = timetable::next(&dag.schedule, &bounds, last, at) else { break };
        if due.run_after > now {
            ticks.push(due.run_after);
        }
        // A schedule that goes on with the end of a run has no times of its own.
        if dag.schedule == Schedule::Continuous || last == Some((due.start, due.end)) {
            break;
        }
        (last, at) = (Some((due.start, due.end)), at.max(due.run_after));
    }
    ticks
}

/// Says why a schedule makes no run.
pub(super) fn remark(dag: &Dag, ticks: &[Timestamp], now: Timestamp, remarks: &mut Remarks<'_>) {
    if !ticks.is_empty() || matches!(dag.schedule, Schedule::Never | Schedule::Continuous | Schedule::Once) {
        return;
    }
    let at = |at: Timestamp| at.format("%Y-%m-%d %H:%M:%S UTC");
    match (dag.start_date, dag.end_date) {
        (Some(start), Some(end)) if end < start => remarks.of_dag(
            "end_date",
            format!(
                "end_date ({}) is before start_date ({}): the schedule makes no run; exchange them",
                at(end),
                at(start)
            ),
        ),
        (_, Some(end)) if end < now => remarks.of_dag(
            "end_date",
            format!(
                "end_date ({}) is over: the schedule makes no further run; take it away, or set schedule: null",
                at(end)
            ),
        ),
        (_, end) => {
            let key = if end.is_some() && fires(dag, now) { "end_date" } else { "schedule" };
            let message = if key == "end_date" {
                "no tick of the schedule comes before end_date: it makes no further run; set a later one, or schedule: null"
            } else {
                "the schedule never fires: no date has what its cron asks for; look at its days and months"
            };
            remarks.of_dag(key, message);
        }
    }
}

/// Whether the schedule alone fires after an instant.
fn fires(dag: &Dag, now: Timestamp) -> bool {
    let bounds = Restriction { earliest: dag.start_date, latest: None, catchup: Catchup::Latest };
    timetable::next(&dag.schedule, &bounds, None, now).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(keys: &str) -> Dag {
        let text = format!("dag_id: d\n{keys}\ntasks:\n  a: {{operator: empty}}\n");
        let loaded = dag::load("d.yaml", &text, &dag::Content::default());
        assert_eq!(loaded.errors, []);
        loaded.dags.into_iter().next().unwrap().dag
    }

    fn ticks(keys: &str) -> Vec<String> {
        let now = "2026-12-01T12:30:00Z".parse().unwrap();
        next(&dag(keys), now, 3).iter().map(|tick| tick.format("%m-%d %H:%M").to_string()).collect()
    }

    #[test]
    fn the_next_ticks_are_those_of_the_schedule_within_its_dates() {
        assert_eq!(ticks("schedule: '0 */6 * * *'"), ["12-01 18:00", "12-02 00:00", "12-02 06:00"]);
        assert_eq!(ticks("schedule: '@daily'\nstart_date: 2027-01-05"), ["01-05 00:00", "01-06 00:00", "01-07 00:00"]);
        assert_eq!(ticks("schedule: '@daily'\nend_date: 2026-12-02T12:00:00Z"), ["12-02 00:00"]);
        assert_eq!(ticks("schedule: {cron: '0 0 * * *', timetable: cron_data_interval}").len(), 3);
        assert_eq!(ticks("schedule: 1h\nstart_date: 2026-12-01").len(), 3);
        assert_eq!(ticks("schedule: null"), Vec::<String>::new());
        assert_eq!(ticks("schedule: '@daily'\nend_date: 2026-01-01"), Vec::<String>::new());
    }
}
