//! What a page shows and a stream tells of: everything, a DAG, a run, the services; and logs, which are pushed.

use std::{fmt, str::FromStr};

use model::{DagId, MapIndex, RunId, RunKey, ServiceKey, TaskId};

/// Something that changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Any DAG or run that the user may see, and what is none of these.
    Everything,
    /// A DAG and its runs.
    Dag(DagId),
    /// A run of a DAG.
    Run(DagId, RunKey),
    /// The services.
    Services,
}

impl Subject {
    /// The DAG that it is about.
    #[must_use]
    pub const fn dag(&self) -> Option<&DagId> {
        match self {
            Self::Dag(dag) | Self::Run(dag, _) => Some(dag),
            Self::Everything | Self::Services => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Dag(dag) => write!(f, "dag/{dag}"),
            Self::Run(dag, run) => write!(f, "run/{dag}/{run}"),
            Self::Services => f.write_str("services"),
        }
    }
}

/// A text that names nothing that can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is none of *, services, dag/{{dag_id}}, run/{{dag_id}}/{{number}}, log/… and service/…")]
pub struct Unknown;

impl FromStr for Subject {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let words: Vec<&str> = text.split('/').collect();
        let dag = |text: &str| DagId::new(text).map_err(|_| Unknown);
        match words.as_slice() {
            ["*"] => Ok(Self::Everything),
            ["services"] => Ok(Self::Services),
            ["dag", id] => Ok(Self::Dag(dag(id)?)),
            ["run", id, run] => Ok(Self::Run(dag(id)?, RunKey(run.parse().map_err(|_| Unknown)?))),
            _ => Err(Unknown),
        }
    }
}

/// A log that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSubject {
    /// That of a try.
    Try {
        /// The DAG.
        dag: DagId,
        /// Its run.
        run: RunId,
        /// The task.
        task: TaskId,
        /// Which instance of it.
        map: MapIndex,
        /// The number of the try.
        number: i16,
    },
    /// That of a service.
    Service(ServiceKey),
}

impl LogSubject {
    /// The DAG that it belongs to.
    #[must_use]
    pub const fn dag(&self) -> &DagId {
        match self {
            Self::Try { dag, .. } => dag,
            Self::Service(key) => &key.dag,
        }
    }
}

impl fmt::Display for LogSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Try { dag, run, task, map, number } => write!(f, "log/{dag}/{run}/{task}/{map}/{number}"),
            Self::Service(key) => write!(f, "service/{key}"),
        }
    }
}

impl FromStr for LogSubject {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let words: Vec<&str> = text.split('/').collect();
        let dag = |text: &str| DagId::new(text).map_err(|_| Unknown);
        match words.as_slice() {
            ["log", id, run, task, map, number] => Ok(Self::Try {
                dag: dag(id)?,
                run: RunId::new(*run).map_err(|_| Unknown)?,
                task: TaskId::new(*task).map_err(|_| Unknown)?,
                map: MapIndex(map.parse().map_err(|_| Unknown)?),
                number: number.parse().map_err(|_| Unknown)?,
            }),
            ["service", id, name, replica] => Ok(Self::Service(ServiceKey {
                dag: dag(id)?,
                name: (*name).to_owned(),
                replica: replica.parse().map_err(|_| Unknown)?,
            })),
            _ => Err(Unknown),
        }
    }
}

/// What a stream is asked for: subjects, and logs each from an offset on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What changes.
    pub subjects: Vec<Subject>,
    /// Logs, with the offset to read on from.
    pub logs: Vec<(LogSubject, u64)>,
    /// Texts that were not understood, or are too many.
    pub refused: Vec<String>,
}

impl Wanted {
    /// Reads a list with spaces between; a log has `@` and its offset at its end.
    #[must_use]
    pub fn of(text: &str, subjects_max: usize, logs_max: usize) -> Self {
        let mut wanted = Self::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let log = word.rsplit_once('@').and_then(|(log, offset)| Some((log.parse().ok()?, offset.parse().ok()?)));
            match (word.parse(), log) {
                (Ok(subject), _) if wanted.subjects.contains(&subject) => {}
                (Ok(subject), _) if wanted.subjects.len() < subjects_max => wanted.subjects.push(subject),
                (_, Some(log)) if wanted.logs.len() < logs_max => wanted.logs.push(log),
                // Of what is far too much no list is made, either.
                _ if wanted.refused.len() < subjects_max => {
                    let name = word.rsplit_once('@').map_or(word, |(name, _)| name);
                    wanted.refused.push(name.to_owned());
                }
                _ => {}
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_written() {
        let dag = DagId::new("etl").unwrap();
        for subject in
            [Subject::Everything, Subject::Services, Subject::Dag(dag.clone()), Subject::Run(dag.clone(), RunKey(7))]
        {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        let log = LogSubject::Try {
            dag: dag.clone(),
            run: RunId::new("scheduled__2026-11-21T00:00:00+00:00").unwrap(),
            task: TaskId::new("group.load").unwrap(),
            map: MapIndex::UNMAPPED,
            number: 2,
        };
        assert_eq!(log.to_string().parse(), Ok(log));
        let service = LogSubject::Service(ServiceKey { dag, name: "sink".to_owned(), replica: 1 });
        assert_eq!(service.to_string().parse(), Ok(service));
    }

    #[test]
    fn what_is_unknown_or_too_much_is_refused_by_name() {
        let text = "* dag/etl dag/etl run/etl/x log/etl/r/t/-1/1@42 service/etl/sink/0@7 services";
        let wanted = Wanted::of(text, 2, 1);
        assert_eq!(wanted.subjects, [Subject::Everything, Subject::Dag(DagId::new("etl").unwrap())]);
        assert_eq!(wanted.logs.len(), 1);
        assert_eq!(wanted.logs[0].1, 42);
        assert_eq!(wanted.refused, ["run/etl/x", "service/etl/sink/0"]);
    }
}
