//! An engine with a clock of its own.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use model::{
    AttemptEnd, AttemptId, Command, CommandId, EndKind, TaskState, TiKey, Timestamp, WorkerId,
    command::{AnswerQuestion, TaskInstanceName},
    door::{Conf, Text},
    operator::HitlUser,
};

use super::{
    Tables,
    fate::{Fates, Start},
    happenings::{Happening, Happenings, Over},
};
use crate::{Effect, Engine, Event, Fact, Input, Need, Plan, Rest, Settings, Snapshot, StoredRun};

/// Events of one turn at most, as a leader takes them.
const EVENTS_MAX: usize = 2_000;
/// Keys that a turn may give to new runs: more than it makes.
const RUN_KEYS: i64 = 100_000;
/// The first key of a run that is foretold beside a store, beyond all keys that it has given.
const FORETOLD_KEYS: i64 = 1 << 60;
/// Who asks for what is asked for in simulated time.
pub(super) const SIMULATION: &str = "simulation";

/// How far a simulation goes at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Nothing happens after this instant.
    pub until: Timestamp,
    /// So many turns.
    pub turns_max: u32,
    /// So many new runs.
    pub runs_max: usize,
}

/// What one step has come to.
#[derive(Debug)]
pub enum Step {
    /// A turn was taken at the instant that [`Ahead::now`] says.
    Turn(Box<Plan>),
    /// It has to be told something that only a store knows; [`Ahead::tell`] does, and the step is taken again.
    Asks(Vec<Need>),
    /// It goes no further.
    Over(Over),
}

/// Whether there is a store that knows more than the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// The tables have everything.
    Nothing,
    /// A store has ended runs.
    Store,
}

/// An engine ahead of the clock.
///
/// What always holds between two steps: the tables have what the engine has decided, and every live attempt has its end among
/// what happens later, or will end by a question's answer.
#[derive(Debug)]
pub struct Ahead {
    engine: Engine,
    tables: Tables,
    now: Timestamp,
    began: Timestamp,
    bounds: Bounds,
    beyond: Beyond,
    /// What a store has said.
    told: BTreeMap<Need, Fact>,
    happenings: Happenings,
    /// Events of the next turn.
    events: Vec<Event>,
    rest: Rest,
    turns: u32,
    runs: usize,
    run_keys: i64,
    commands: i64,
    is_begun: bool,
}

impl Ahead {
    /// An engine on these rows and nothing else, at an instant.
    #[must_use]
    pub fn alone(snapshot: Snapshot, past: Vec<StoredRun>, now: Timestamp, bounds: Bounds) -> Self {
        Self::new(Tables::of(snapshot, past), (now, bounds), Beyond::Nothing)
    }

    /// An engine on what was loaded of a store, which is asked for what has ended before.
    #[must_use]
    pub fn beside_store(snapshot: Snapshot, now: Timestamp, bounds: Bounds) -> Self {
        Self::new(Tables::of(snapshot, Vec::new()), (now, bounds), Beyond::Store)
    }

    fn new(tables: Tables, (now, bounds): (Timestamp, Bounds), beyond: Beyond) -> Self {
        Self {
            engine: Engine::load(tables.snapshot(), now),
            run_keys: match beyond {
                Beyond::Nothing => tables.next_run_key(),
                Beyond::Store => FORETOLD_KEYS,
            },
            tables,
            now,
            began: now,
            bounds,
            beyond,
            told: BTreeMap::new(),
            happenings: Happenings::default(),
            events: Vec::new(),
            rest: Rest::Nothing,
            turns: 0,
            runs: 0,
            commands: 0,
            is_begun: false,
        }
    }

    /// The same in an installation that decides otherwise than Airflow's defaults.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.engine = self.engine.with_settings(settings);
        self
    }

    /// The instant of the last turn.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The rows as they are.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The engine, to be asked why something waits.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Something happens at the next turn.
    pub fn put(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Somebody asks for something at the next turn.
    pub fn ask(&mut self, command: Command) {
        let event = self.asked(command);
        self.events.push(event);
    }

    /// An attempt that runs already ends after a while.
    pub fn let_end(&mut self, worker: WorkerId, attempt: AttemptId, after: TimeDelta, end: AttemptEnd) {
        self.happenings.put(self.now + after, Happening::Ends(worker, attempt, Box::new(end)));
    }

    /// Answers what a step has asked of the store.
    pub fn tell(&mut self, facts: impl IntoIterator<Item = (Need, Fact)>) {
        self.told.extend(facts);
    }

    /// Goes on to the next thing that happens, and takes a turn.
    pub fn step(&mut self, fates: &mut impl Fates) -> Step {
        if let Some(over) = self.over() {
            return Step::Over(over);
        }
        while self.events.len() < EVENTS_MAX
            && let Some(happening) = self.happenings.pop_due(self.now)
        {
            let event = self.event_of(happening);
            self.events.push(event);
        }
        if let Some(lacking) = self.learn() {
            return Step::Asks(lacking);
        }
        let plan = self.turn();
        self.act(&plan, fates);
        Step::Turn(Box::new(plan))
    }

    /// Goes to the instant of the next turn, unless there is none.
    fn over(&mut self) -> Option<Over> {
        if self.turns >= self.bounds.turns_max {
            return Some(Over::Turns);
        }
        if self.runs >= self.bounds.runs_max {
            return Some(Over::Runs);
        }
        if !self.is_begun || !self.events.is_empty() || self.rest == Rest::Continue {
            return None;
        }
        let next = [self.engine.next_wakeup(), self.happenings.earliest()].into_iter().flatten().min();
        match next {
            None => Some(Over::AtRest),
            Some(at) if at > self.bounds.until => {
                self.now = self.now.max(self.bounds.until);
                Some(Over::Until)
            }
            Some(at) => {
                self.now = self.now.max(at);
                None
            }
        }
    }

    fn event_of(&mut self, happening: Happening) -> Event {
        match happening {
            Happening::Starts(worker, attempt) => Event::AttemptStarted { worker, attempt, at: self.now },
            Happening::Defers(worker, attempt) => {
                let end = AttemptEnd::new(EndKind::Rescheduled, "").into();
                Event::AttemptDeferred { worker, attempt, at: self.now, end }
            }
            Happening::Ends(worker, attempt, end) => Event::AttemptEnded { worker, attempt, end: (*end).into() },
            Happening::Asks(command) => self.asked(*command),
        }
    }

    fn asked(&mut self, command: Command) -> Event {
        self.commands += 1;
        Event::Command { id: CommandId(self.commands), by: SIMULATION.to_owned(), command }
    }

    /// Tells the engine what it lacks; what only a store knows is left over. An answer may lead to a further question, of which
    /// there are a few at most.
    fn learn(&mut self) -> Option<Vec<Need>> {
        const ROUNDS_MAX: usize = 10;
        for _ in 0..ROUNDS_MAX {
            let needs = self.engine.needs(&self.events);
            if needs.is_empty() {
                return None;
            }
            let is_unknown = |need: &&Need| {
                self.beyond == Beyond::Store && !self.told.contains_key(need) && !self.is_known_here(need)
            };
            let lacking: Vec<Need> = needs.iter().filter(is_unknown).cloned().collect();
            if !lacking.is_empty() {
                return Some(lacking);
            }
            for need in needs {
                let stored = self.told.get(&need).cloned();
                let fact = self.tables.fact(need, stored.as_ref());
                self.engine.provide(fact);
            }
        }
        None
    }

    /// Whether the tables have the answer, whatever a store would say: dates after the beginning are those of runs that are foretold.
    fn is_known_here(&self, need: &Need) -> bool {
        match need {
            Need::RunExists { logical_date: Some(date), .. } => *date > self.began,
            Need::PreviousRun { dag, before, counts } => {
                let previous = self.tables.previous(dag, *before, *counts);
                previous.and_then(|run| run.logical_date).is_some_and(|date| date > self.began)
            }
            Need::RunExists { logical_date: None, .. }
            | Need::Run { .. }
            | Need::NewestRuns { .. }
            | Need::AverageRuntime { .. }
            | Need::Version(_) => false,
        }
    }

    fn turn(&mut self) -> Plan {
        self.is_begun = true;
        self.turns += 1;
        // What a store has said of ended runs stays so; what is asked again of runs that are here is answered by the tables.
        let events = self.events.clone();
        let run_keys = self.run_keys..self.run_keys + RUN_KEYS;
        // Ids are drawn from the turn's number: a simulation has one outcome.
        let seed = u128::from(self.turns) << 64;
        let plan = self.engine.turn(Input { now: self.now, seed, run_keys, events });
        for event in self.events.drain(..plan.taken) {
            self.tables.hear(&event);
        }
        let highest = plan.new_runs.iter().map(|run| run.key.get()).max();
        self.run_keys = highest.map_or(self.run_keys, |highest| highest + 1);
        self.runs += plan.new_runs.len();
        self.tables.apply(&plan);
        self.rest = plan.rest;
        plan
    }

    fn act(&mut self, plan: &Plan, fates: &mut impl Fates) {
        for effect in &plan.effects {
            match effect {
                Effect::Assign { worker, key, attempt } => self.begin((*worker, *attempt), *key, fates),
                Effect::Kill { worker, attempt, reason } => {
                    if self.happenings.forget_end(*attempt) {
                        let end = Box::new(AttemptEnd::new(EndKind::Killed, reason.clone()));
                        self.happenings.put(self.now, Happening::Ends(*worker, *attempt, end));
                    }
                }
            }
        }
    }

    /// An attempt was given to its worker: it begins at once.
    fn begin(&mut self, (worker, attempt): (WorkerId, AttemptId), key: TiKey, fates: &mut impl Fates) {
        let Some(given) = self.engine.assignment(key).filter(|given| given.attempt == attempt) else { return };
        let fate = fates.fate(&given);
        self.happenings.put(self.now, Happening::Starts(worker, attempt));
        // One that another worker held is deferred already.
        if given.dag.task(given.task).operator.defers() && given.poked.is_none() {
            self.happenings.put(self.now, Happening::Defers(worker, attempt));
        }
        if let Start::Asks(command) = fate.start {
            self.happenings.put(self.now, Happening::Asks(command));
        }
        let limit = given.dag.task(given.task).execution_timeout.and_then(|limit| TimeDelta::from_std(limit).ok());
        let (runs, mut end) = match limit {
            Some(limit) if fate.runs > limit => {
                let reason = "it ran longer than its execution_timeout";
                (limit, AttemptEnd::new(EndKind::TimedOut, reason))
            }
            Some(_) | None => (fate.runs, fate.end),
        };
        end.ran_micros = runs.num_microseconds().unwrap_or(i64::MAX);
        let ends_at = self.now.checked_add_signed(runs).unwrap_or(Timestamp::MAX_UTC);
        self.happenings.put(ends_at, Happening::Ends(worker, attempt, Box::new(end)));
        if let Some((after, chosen)) = fate.answer {
            let instance = TaskInstanceName {
                dag_id: given.run.dag_id.clone(),
                run_id: given.run.run_id.clone(),
                task_id: given.dag.task(given.task).task_id.clone(),
                map_index: key.map,
            };
            let asking = given.dag.task(given.task).operator.asking();
            let user = asking.and_then(|asking| asking.assigned_users.first().cloned());
            let answer = AnswerQuestion {
                instance,
                chosen_options: chosen.into_iter().filter_map(|option| Text::new(option).ok()).collect(),
                params_input: Conf::default(),
                user: user.unwrap_or_else(|| HitlUser::named(SIMULATION)),
            };
            let at = ends_at.checked_add_signed(after).unwrap_or(Timestamp::MAX_UTC);
            self.happenings.put(at, Happening::Asks(Box::new(Command::AnswerQuestion(answer))));
        }
    }

    /// The instances that a worker is at work on, each with its attempt.
    #[must_use]
    pub fn at_work(&self) -> Vec<(WorkerId, AttemptId, TiKey)> {
        let live = self.engine.attempts.iter().filter_map(|(attempt, key)| {
            let core = self.engine.core(self.engine.place_of(*key)?);
            let is_at_work = matches!(
                core.state,
                TaskState::Queued | TaskState::Running | TaskState::Restarting | TaskState::Deferred
            );
            Some((core.worker?, *attempt, *key)).filter(|_| core.live && is_at_work)
        });
        live.collect()
    }
}
