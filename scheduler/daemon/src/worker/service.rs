//! One instance of a service: its process, its log, its reports.

use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use executor::{
    Masker, Stop, WorkerContext, Workspace,
    docker::{self, Mailbox, ServiceNews},
    environment,
    log::{self, LINE_BYTES_MAX, Log, Overflow, Stream},
    process::{Finished, GroupKind, Inherited, LastLine, Launch, ProcessEnd, Running, StdinUse, pump, supervise},
};
use link::{ServiceExit, ServiceStart, query::LogName};
use model::container::Container;
use tokio::{
    io::AsyncRead,
    net::unix::pipe,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use uuid::Uuid;

use super::{attempts::mask_lake, event::Event};

/// The longest report line; the largest real one lists the offsets of all partitions.
const REPORT_BYTES_MAX: usize = 64 * 1024;
/// How long pipes may stay open after the process's group is gone.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// What an instance needs.
pub(super) struct Instance {
    pub(super) start: ServiceStart,
    pub(super) log_dir: PathBuf,
    pub(super) context: Arc<WorkerContext>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) stop: Stop,
}

/// An instance that runs.
struct Live {
    running: Running,
    reports: pipe::Receiver,
    _workspace: Workspace,
}

impl Instance {
    /// Runs the instance to its end and tells of it.
    pub(super) async fn run(self) {
        let exit = self.exit().await;
        // The worker takes events until every service has ended.
        let _ = self.events.send(Event::ServiceExited(exit)).await;
    }

    async fn exit(&self) -> ServiceExit {
        let masker = self.masker();
        let log = log::path(&self.log_dir, &LogName::Service(self.start.key.clone()));
        let log = match Log::open(&log, masker.clone(), Overflow::Rotate) {
            Ok(log) => log,
            Err(error) => return self.ended(None, &format!("its log could not be opened: {error}")),
        };
        log.system(&format!("Service {}: instance {} starts", self.start.key, self.start.instance));
        let exit = match &self.start.spec.container {
            Some(container) => self.contain(container, &log, &masker).await,
            None => match self.launch().await {
                Ok(live) => self.follow(live, &log, &masker).await,
                Err(error) => self.ended(None, &format!("could not run its process: {error}")),
            },
        };
        log.system(&format!("Instance {} ended: {}", self.start.instance, exit.reason));
        log.flush();
        ServiceExit { reason: masker.mask(&exit.reason).into_owned(), ..exit }
    }

    fn masker(&self) -> Masker {
        let masker = Masker::default();
        mask_lake(&masker, &self.context);
        let variables = environment::of_service(&self.context, &self.start);
        variables.iter().for_each(|(name, value)| masker.add_named(name, value));
        masker
    }

    /// Runs it in a container, and passes on what that tells.
    async fn contain(&self, container: &Container, log: &Log, masker: &Masker) -> ServiceExit {
        let mailbox = Mailbox::default();
        let end = docker::serve(&self.start, container, &self.context, (log, masker), &self.stop, &mailbox);
        tokio::pin!(end);
        loop {
            tokio::select! {
                end = &mut end => {
                    self.pass_on(&mailbox).await;
                    return self.ended(end.exit_code, &end.reason);
                }
                () = mailbox.wait() => self.pass_on(&mailbox).await,
            }
        }
    }

    async fn pass_on(&self, mailbox: &Mailbox) {
        let instance = self.start.instance;
        for news in mailbox.take() {
            let event = match news {
                ServiceNews::Started => Event::ServiceStarted { instance },
                ServiceNews::Report(line) => Event::ServiceLine { instance, line },
            };
            // The worker takes events until every service has ended.
            let _ = self.events.send(event).await;
        }
    }

    async fn launch(&self) -> io::Result<Live> {
        let workspace = self.context.workspaces.make()?;
        let (reader, writer) = io::pipe()?;
        let reports = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let env = environment::of_service(&self.context, &self.start);
        let mut words = self.start.spec.command.iter();
        let program = words.next().ok_or_else(|| io::Error::other("its command is empty"))?;
        let launch = Launch {
            program: program.into(),
            args: words.map(Into::into).collect(),
            env,
            dir: workspace.path().to_owned(),
            kind: GroupKind::Service,
            stdin: StdinUse::Empty,
            inherit: vec![Inherited { variable: environment::SERVICE_FD, fd: writer.into() }],
        };
        Ok(Live { running: launch.start(&self.context.launchers).await?, reports, _workspace: workspace })
    }

    async fn follow(&self, mut live: Live, log: &Log, masker: &Masker) -> ServiceExit {
        let instance = self.start.instance;
        let _ = self.events.send(Event::ServiceStarted { instance }).await;
        let last_error = Arc::new(Mutex::new(LastLine::default()));
        let mut pumps = JoinSet::new();
        let stdout = live.running.stdout.take().expect("standard output is a pipe");
        let stderr = live.running.stderr.take().expect("standard error is a pipe");
        pumps.spawn(carry(stdout, masker.clone(), log.clone(), Stream::Out, Arc::default()));
        pumps.spawn(carry(stderr, masker.clone(), log.clone(), Stream::Err, Arc::clone(&last_error)));
        let reports = tokio::spawn(forward(instance, live.reports, self.events.clone(), log.clone()));
        let grace = Duration::try_from_secs_f64(self.start.spec.stop_timeout_secs).unwrap_or(self.context.kill_grace);
        let finished = supervise(&mut live.running, &self.stop, grace, log).await;
        drain(pumps, reports).await;
        let last_error = last_error.lock().unwrap_or_else(PoisonError::into_inner).text().to_owned();
        match finished {
            Ok(finished) => self.finished(&finished, &last_error),
            Err(error) => self.ended(None, &format!("its process could not be awaited: {error}")),
        }
    }

    fn finished(&self, finished: &Finished, last_error: &str) -> ServiceExit {
        let code = match finished.end {
            ProcessEnd::Exited(code) => Some(code),
            ProcessEnd::Signalled(_) => None,
        };
        let reason = match (&finished.stopped, code, last_error) {
            (Some(cause), _, _) => format!("{} ({})", cause.reason, finished.end),
            (None, Some(0), _) | (None, _, "") => finished.end.to_string(),
            (None, _, line) => format!("{}: {line}", finished.end),
        };
        self.ended(code, &reason)
    }

    fn ended(&self, exit_code: Option<i32>, reason: &str) -> ServiceExit {
        ServiceExit { instance: self.start.instance, exit_code, reason: reason.to_owned() }
    }
}

async fn carry<R>(stream: R, masker: Masker, log: Log, name: Stream, last: Arc<Mutex<LastLine>>)
where
    R: AsyncRead + Unpin,
{
    let take = |line: &str| {
        last.lock().unwrap_or_else(PoisonError::into_inner).see(line);
        log.line(name, line);
    };
    pump(stream, masker, LINE_BYTES_MAX, take).await;
}

/// Passes report lines on. One that is no JSON object is for the log.
async fn forward(instance: Uuid, reports: pipe::Receiver, events: mpsc::Sender<Event>, log: Log) {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
    let mut reader = BufReader::new(reports);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A pipe that fails has no more to say than one that has ended.
        let read = (&mut reader).take(REPORT_BYTES_MAX as u64).read_until(b'\n', &mut line).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        match serde_json::from_slice::<serde_json::Value>(&line) {
            Ok(line) if line.is_object() => {
                if events.send(Event::ServiceLine { instance, line }).await.is_err() {
                    return;
                }
            }
            Ok(_) | Err(_) => log.system(&format!("Not a report: {}", String::from_utf8_lossy(&line).trim_end())),
        }
    }
}

async fn drain(mut pumps: JoinSet<()>, reports: JoinHandle<()>) {
    let all = async {
        while pumps.join_next().await.is_some() {}
        let _ = reports.await;
    };
    // What a process that left its group still writes is nobody's.
    let _ = timeout(DRAIN_WAIT, all).await;
}
