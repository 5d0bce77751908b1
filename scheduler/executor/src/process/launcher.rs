//! The launcher: a small process between a worker and one attempt at a time.
//!
//! It starts the attempt's process without copying anybody's memory, adopts whatever that process leaves behind, and says
//! when nothing of it is left. A worker has as many launchers as attempts run at once and uses them again. When the worker
//! is gone, or has given an attempt up, the launcher's socket closes: it kills all that is below it, and ends.
//!
//! Between clone and exec the child shares the launcher's memory (as vfork's does) and the launcher waits: it makes system
//! calls only, with what was prepared before, on a stack of its own.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    fs, io,
    os::fd::{AsRawFd as _, RawFd},
    process::ExitCode,
    ptr,
    time::{Duration, Instant},
};

use super::{
    tree,
    wire::{self, INHERITED_FROM, Leftovers, Received, Reply, Step},
};

/// The variable that marks a worker's launchers, with the worker's identity.
pub const LAUNCHER: &str = "WINDLASS_LAUNCHER";

/// The socket to the worker.
const SOCKET: RawFd = 0;
/// Signals that a terminal or a group sends to the worker: the launcher outlasts them and ends after the worker.
const IGNORED: [c_int; 6] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP, libc::SIGPIPE];
/// Those above are the C library's own.
const HIGHEST_SIGNAL: c_int = 31;
/// How much likelier than the worker its tasks are chosen when memory runs out, in thousandths of the memory.
const OOM_SCORE: i32 = 500;
/// The highest score there is.
const OOM_SCORE_MAX: i32 = 1000;
/// Between the steps before exec nothing is put on the stack but a few numbers.
const STACK_BYTES: usize = 64 * 1024;
/// How long a launcher whose worker is gone tries to empty its tree: what runs as another user can not be killed.
const END_MAX: Duration = Duration::from_secs(5);
/// The pause between two looks at what is left.
const LOOK_MILLIS: c_int = 5;
/// How many inherited descriptors are lifted above every number that they are to have.
const LIFTED_FROM: c_int = INHERITED_FROM + wire::FDS_MAX as c_int;
/// What runs a program that is a script without a line that names its interpreter, as a shell does.
const SHELL: &CStr = c"/bin/sh";

/// The end of the pipe on which [`on_child`] writes.
static mut CHILD_PIPE: c_int = -1;

/// Runs a launcher until its worker is gone. Standard input is the socket. It must run before anything else of the program
/// has started.
pub fn main() -> ExitCode {
    match Launcher::prepare().and_then(Launcher::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use io::Write as _;
            // Its standard error is the worker's.
            let _ = writeln!(io::stderr(), "windlass launcher: {error}");
            end_tree();
            ExitCode::FAILURE
        }
    }
}

struct Launcher {
    /// Readable when a child has ended.
    children: RawFd,
    stack: Vec<u128>,
    /// The process that was asked for, while it runs.
    process: Option<i32>,
    /// Whether the process is gone and something that it left is not.
    left: bool,
}

impl Launcher {
    fn prepare() -> io::Result<Self> {
        close_others();
        // SAFETY: plain numbers, and a handler that makes one system call.
        unsafe {
            if libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) != 0 {
                return Err(io::Error::last_os_error());
            }
            // Started by /proc/self/exe, it would be called "exe".
            libc::prctl(libc::PR_SET_NAME, c"windlass-launch".as_ptr());
            // What the worker's own parent ignores is no task's business.
            (1..=HIGHEST_SIGNAL).for_each(|number| {
                libc::signal(number, libc::SIG_DFL);
            });
            IGNORED.iter().for_each(|number| {
                libc::signal(*number, libc::SIG_IGN);
            });
        }
        let score = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
        let score = (score.unwrap_or(0) + OOM_SCORE).min(OOM_SCORE_MAX);
        // Without it tasks are as likely to be chosen as their worker: a loss, and no reason to run nothing.
        let _ = fs::write("/proc/self/oom_score_adj", score.to_string());
        Ok(Self {
            children: watch_children()?,
            stack: vec![0; STACK_BYTES / size_of::<u128>()],
            process: None,
            left: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            let mut ready = [SOCKET, self.children].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
            // SAFETY: the array outlives the call.
            if unsafe { libc::poll(ready.as_mut_ptr(), 2, -1) } < 0 {
                match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(error),
                }
            }
            if ready[1].revents != 0 {
                drain(self.children);
                self.reap()?;
            }
            if ready[0].revents != 0 {
                match wire::receive(SOCKET) {
                    Ok(Some(request)) => self.start(&request)?,
                    // Closed with words unread counts as closed.
                    Ok(None) | Err(_) => {
                        end_tree();
                        return Ok(());
                    }
                }
            }
        }
    }

    fn start(&mut self, request: &Received) -> io::Result<()> {
        if self.process.is_some() || self.left {
            return Err(io::Error::other("a request came before the last one was done"));
        }
        match start(request, &mut self.stack) {
            Ok(process) => {
                self.process = Some(process);
                say(Reply::Started(process))
            }
            Err((step, errno)) => say(Reply::Refused { step, errno }),
        }
    }

    /// Takes every child that has ended, and tells what that means.
    fn reap(&mut self) -> io::Result<()> {
        let mut ended = None;
        let leftovers = loop {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                0 => break Leftovers::Some,
                child if child > 0 => {
                    if Some(child) == self.process {
                        ended = Some(status);
                        self.process = None;
                    }
                }
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => break Leftovers::None,
                },
            }
        };
        if let Some(status) = ended {
            self.left = leftovers == Leftovers::Some;
            say(Reply::Ended { status, leftovers })
        } else if self.left && leftovers == Leftovers::None {
            self.left = false;
            say(Reply::Empty)
        } else {
            Ok(())
        }
    }
}

/// Every descriptor but the standard three: a task inherits none of what the worker's own parent left open.
fn close_others() {
    // SAFETY: plain numbers; nothing of this process has opened a descriptor yet.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } == 0 {
        return;
    }
    // A kernel before 5.9.
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<RawFd> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in numbers.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: as above; the directory that was read is closed already, so that closing its number fails.
        unsafe { libc::close(fd) };
    }
}

/// Makes the pipe on which ended children are told of: it can be waited for together with the socket.
fn watch_children() -> io::Result<RawFd> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors; the handler is in place before the first child.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) != 0 {
            return Err(io::Error::last_os_error());
        }
        CHILD_PIPE = ends[1];
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_child as *const () as usize;
        action.sa_flags = libc::SA_NOCLDSTOP | libc::SA_RESTART;
        if libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(ends[0])
}

extern "C" fn on_child(_: c_int) {
    // SAFETY: one write of one byte from a constant; errno is put back. A full pipe says it already.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(CHILD_PIPE, c"c".as_ptr().cast(), 1);
        *libc::__errno_location() = errno;
    }
}

fn drain(pipe: RawFd) {
    let mut bytes = [0_u8; 64];
    // SAFETY: the buffer is as long as is said; the pipe does not block.
    while unsafe { libc::read(pipe, bytes.as_mut_ptr().cast(), bytes.len()) } == 64 {}
}

fn say(reply: Reply) -> io::Result<()> {
    let bytes = reply.to_bytes();
    // SAFETY: the buffer is as long as is said. The socket takes a few bytes whole, or its other end is gone.
    let sent = unsafe { libc::send(SOCKET, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    if usize::try_from(sent) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Kills everything below this process until nothing is left.
fn end_tree() {
    let own = nix::unistd::getpid().as_raw();
    let until = Instant::now() + END_MAX;
    while Instant::now() < until {
        tree::signal(&tree::below(own), nix::sys::signal::Signal::SIGKILL);
        // SAFETY: plain numbers and a null pointer, which waitpid takes for "the status is not wanted".
        unsafe {
            while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
            if libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) < 0 && *libc::__errno_location() == libc::ECHILD {
                return;
            }
            libc::poll(ptr::null_mut(), 0, LOOK_MILLIS);
        }
    }
}

/// Everything that the child needs, prepared; and what went wrong, which it leaves here.
struct Plan<'p> {
    letter: u8,
    dir: *const c_char,
    words: *const *const c_char,
    /// The words for [`SHELL`].
    script: *const *const c_char,
    env: *const *const c_char,
    guard: RawFd,
    standard: [RawFd; 3],
    inherited: &'p [RawFd],
    failed: (Step, c_int),
}

/// Starts what is asked for; gives its process, or what could not be done.
fn start(request: &Received, stack: &mut [u128]) -> Result<i32, (Step, c_int)> {
    let broken = (Step::Request, libc::EINVAL);
    let (dir, words, env) = request.texts().map_err(|_| broken)?;
    let fds: Vec<RawFd> = request.fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let [guard, input, output, errors, inherited @ ..] = fds.as_slice() else { return Err(broken) };
    if fds.len() > wire::FDS_MAX {
        return Err(broken);
    }
    let pointers = |texts: &mut dyn Iterator<Item = &CStr>| -> Vec<*const c_char> {
        texts.map(CStr::as_ptr).chain([ptr::null()]).collect()
    };
    let script = pointers(&mut [SHELL].into_iter().chain(words.iter().copied()));
    let (words, env) = (pointers(&mut words.iter().copied()), pointers(&mut env.iter().copied()));
    let mut plan = Plan {
        letter: request.letter(),
        dir: dir.as_ptr(),
        words: words.as_ptr(),
        script: script.as_ptr(),
        env: env.as_ptr(),
        guard: *guard,
        standard: [*input, *output, *errors],
        inherited,
        failed: (Step::Process, 0),
    };
    // SAFETY: the child runs `child` on a stack that nobody else uses, while this thread waits for its exec or exit, so that
    // everything that the plan points to lives. All signals are blocked meanwhile: no handler runs twice in one memory.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let process = libc::clone(child, top, flags, (&raw mut plan).cast());
        let errno = *libc::__errno_location();
        if process > 0 && ptr::read_volatile(&raw const plan.failed.1) != 0 {
            libc::waitpid(process, ptr::null_mut(), 0);
            // The number may come to mean something else. A guard that is gone needs no news.
            let line = format!("-{process}\n");
            libc::write(plan.guard, line.as_ptr().cast(), line.len());
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        match (process, ptr::read_volatile(&raw const plan.failed)) {
            (..0, _) => Err((Step::Process, errno)),
            (process, (_, 0)) => Ok(process),
            (_, failed) => Err(failed),
        }
    }
}

/// The child: ends in the program, or leaves what went wrong in the plan.
extern "C" fn child(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan<'_>>();
    // SAFETY: the launcher, which owns the plan, waits for this process to exec or exit; nobody else looks at it.
    unsafe {
        let step = become_program(&*plan);
        ptr::write_volatile(&raw mut (*plan).failed, (step, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Returns only with the step that failed, whose reason is in errno.
///
/// # Safety
/// It runs in a child that shares its parent's memory: system calls only.
unsafe fn become_program(plan: &Plan<'_>) -> Step {
    // SAFETY: the plan's pointers are valid and its lists closed by a null; the rest is plain numbers.
    unsafe {
        libc::setpgid(0, 0);
        if !tell_guard(plan.guard, plan.letter) {
            return Step::Guard;
        }
        if !place_descriptors(plan) {
            return Step::Descriptors;
        }
        if libc::chdir(plan.dir) != 0 {
            return Step::Directory;
        }
        for number in IGNORED.into_iter().chain([libc::SIGCHLD]) {
            libc::signal(number, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(*plan.words, plan.words, plan.env);
        if *libc::__errno_location() == libc::ENOEXEC {
            libc::execve(SHELL.as_ptr(), plan.script, plan.env);
        }
        Step::Program
    }
}

/// Registers this process's group. A write below PIPE_BUF is whole or fails, and a dead guard is an error, since SIGPIPE is
/// still ignored.
unsafe fn tell_guard(guard: RawFd, letter: u8) -> bool {
    let mut line = [0; 16];
    // SAFETY: `line` is valid for `length` bytes.
    unsafe {
        let length = registration(letter, libc::getpid(), &mut line);
        usize::try_from(libc::write(guard, line.as_ptr().cast(), length)) == Ok(length)
    }
}

/// Puts descriptors where the program expects them. All others close at exec.
unsafe fn place_descriptors(plan: &Plan<'_>) -> bool {
    let mut lifted = [0; wire::FDS_MAX];
    // SAFETY: plain numbers. What is inherited is lifted first, because a number that is to be taken may be another's now.
    unsafe {
        for (at, fd) in plan.inherited.iter().enumerate() {
            lifted[at] = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, LIFTED_FROM);
            if lifted[at] < 0 {
                return false;
            }
        }
        for (at, fd) in plan.standard.iter().enumerate() {
            if libc::dup2(*fd, at as c_int) < 0 {
                return false;
            }
        }
        let lifted = lifted.iter().take(plan.inherited.len());
        lifted.zip(INHERITED_FROM..).all(|(fd, number)| libc::dup2(*fd, number) >= 0)
    }
}

/// Writes `+a123\n` into the buffer without allocating; answers its length.
fn registration(letter: u8, group: i32, line: &mut [u8; 16]) -> usize {
    let mut digits = [0; 10];
    let mut count = 0;
    let mut rest = group.unsigned_abs();
    while count == 0 || rest > 0 {
        digits[count] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    line[0] = b'+';
    line[1] = letter;
    for (at, digit) in digits[..count].iter().rev().enumerate() {
        line[2 + at] = *digit;
    }
    line[2 + count] = b'\n';
    count + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_the_groups_number_in_text() {
        for group in [1, 10, 4_194_304, i32::MAX] {
            let mut line = [0; 16];
            let length = registration(b's', group, &mut line);
            assert_eq!(line[..length], *format!("+s{group}\n").as_bytes());
        }
    }
}
