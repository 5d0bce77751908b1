//! A worker's old logs go, and none that somebody still needs.

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use executor::log;
use link::query::LogName;

use super::{
    leader::{Acks, Place},
    processes::until,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn old_logs_go_but_for_those_of_attempts_whose_end_is_not_reported() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let reported = leader.assign("echo reported").await;
    leader.ended(reported).await;
    leader.until("a beat, after the acknowledgement", |_| Some(())).await;
    leader.acks(Acks::Withheld);
    let unreported = leader.assign("echo unreported").await;
    leader.ended(unreported).await;
    worker.stop().await;
    drop(leader);
    place.listen_anew();
    let [old, needed] = [reported, unreported].map(|attempt| log::path(&place.log_dir(), &LogName::Attempt(attempt)));
    for path in [&old, &needed] {
        File::options().append(true).open(path).unwrap().set_modified(SystemTime::now() - DAY * 8).unwrap();
    }

    let worker = place.worker_with(|settings| settings.keep_logs = Some(DAY * 7));
    let leader = place.accept().await;
    assert!(leader.hello.attempts.contains(&unreported), "{:?}", leader.hello);
    until("the old log is gone", || !old.exists()).await;
    assert!(needed.exists());
    worker.stop().await;
}
