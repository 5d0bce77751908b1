//! The rules that a task names: when it runs, and how heavy it is.

use crate::codes::coded_enum;

coded_enum! {
    /// How the states of the tasks before it decide about a task (Airflow's `trigger_rule`).
    TriggerRule, "trigger_rule" {
        /// Every upstream succeeded. The default.
        AllSuccess = 0, "all_success";
        /// Every upstream failed.
        AllFailed = 1, "all_failed";
        /// Every upstream is finished.
        AllDone = 2, "all_done";
        /// Every upstream is finished, none was skipped, one succeeded.
        AllDoneMinOneSuccess = 3, "all_done_min_one_success";
        /// The setups of a teardown: all finished, one succeeded. Given to teardowns, not chosen.
        AllDoneSetupSuccess = 4, "all_done_setup_success";
        /// At least one upstream succeeded.
        OneSuccess = 5, "one_success";
        /// At least one upstream failed.
        OneFailed = 6, "one_failed";
        /// At least one upstream succeeded or failed.
        OneDone = 7, "one_done";
        /// No upstream failed.
        NoneFailed = 8, "none_failed";
        /// No upstream failed, and one succeeded.
        NoneFailedMinOneSuccess = 9, "none_failed_min_one_success";
        /// No upstream was skipped.
        NoneSkipped = 10, "none_skipped";
        /// Every upstream was skipped.
        AllSkipped = 11, "all_skipped";
        /// At once.
        Always = 12, "always";
    }
}

coded_enum! {
    /// How a task's weight follows from its neighbours' (Airflow's `weight_rule`).
    WeightRule, "weight_rule" {
        /// Its own and those of everything after it. The default.
        Downstream = 0, "downstream";
        /// Its own and those of everything before it.
        Upstream = 1, "upstream";
        /// Its own only.
        Absolute = 2, "absolute";
    }
}
