//! The words of backfills: which runs are made again, in which order, and why one is not made.

use crate::codes::coded_enum;

coded_enum! {
    /// Which of the runs that there are already run again.
    ReprocessBehavior, "reprocess_behavior" {
        /// None of them.
        None = 0, "none";
        /// Those that failed.
        Failed = 1, "failed";
        /// All that have ended.
        Completed = 2, "completed";
    }
}

coded_enum! {
    /// In which order the runs of a backfill are made and started.
    BackfillOrder, "order of a backfill" {
        /// The earliest date first.
        Forwards = 0, "forwards";
        /// The latest date first.
        Backwards = 1, "backwards";
    }
}

coded_enum! {
    /// Why a backfill makes no run for a date: Airflow's `exception_reason`.
    NotMade, "exception_reason" {
        /// The date has a run that has not ended.
        InFlight = 0, "in flight";
        /// The date has a run that is not to run again.
        AlreadyExists = 1, "already exists";
    }
}

impl ReprocessBehavior {
    /// What becomes of a date that has a run of this state already: nothing is in the way of running it again, or this.
    #[must_use]
    pub const fn in_the_way(self, existing: crate::DagRunState) -> Option<NotMade> {
        use crate::DagRunState as S;
        match (existing, self) {
            (S::Queued | S::Running, _) => Some(NotMade::InFlight),
            (S::Success | S::Failed, Self::None) | (S::Success, Self::Failed) => Some(NotMade::AlreadyExists),
            (S::Failed, Self::Failed) | (S::Success | S::Failed, Self::Completed) => None,
        }
    }
}
