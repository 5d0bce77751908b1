//! What a worker and its launchers say to each other over a socket pair.
//!
//! A request is one frame: its length, then what to start, its texts each closed by a NUL so that they can be handed to
//! execve as they lie. The descriptors of the new process travel with the frame's first byte. A reply has a fixed length.

use std::{
    ffi::{CStr, OsStr},
    io,
    mem::{self, MaybeUninit},
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    ptr,
};

use super::GroupKind;

/// The descriptors of a request: the guard's pipe, the three standard ones, and what is inherited.
pub(super) const FDS_MAX: usize = 12;
/// The number under which the first inherited descriptor is open in the new process; the others follow it.
pub(super) const INHERITED_FROM: RawFd = 3;
/// More than any kernel takes for arguments and environment, which is a quarter of the stack: 2 MiB as a rule.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A frame's length.
const LENGTH_BYTES: usize = 4;
/// What stands before the texts: the kind's letter and how many arguments there are.
const HEAD_BYTES: usize = 5;

/// What is to be started.
pub(super) struct Request<'r> {
    pub(super) kind: GroupKind,
    pub(super) dir: &'r OsStr,
    /// The program's path, which is its name as well, and its arguments.
    pub(super) words: Vec<&'r OsStr>,
    /// `NAME=value`, each.
    pub(super) env: Vec<String>,
}

impl Request<'_> {
    /// The frame.
    ///
    /// # Errors
    /// When a text has a NUL, which no argument of a process can hold, or everything together is too long.
    pub(super) fn frame(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; LENGTH_BYTES];
        frame.push(self.kind.letter());
        frame.extend(u32::try_from(self.words.len()).map_err(io::Error::other)?.to_le_bytes());
        let texts = std::iter::once(&self.dir).chain(&self.words).map(|text| text.as_bytes());
        for text in texts.chain(self.env.iter().map(String::as_bytes)) {
            if text.contains(&0) {
                let text = String::from_utf8_lossy(text).replace('\0', "\\0");
                let text = format!("{text:?} has a NUL, which no argument and no variable of a process can hold");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            frame.extend_from_slice(text);
            frame.push(0);
        }
        let length = frame.len() - LENGTH_BYTES;
        if length > REQUEST_BYTES_MAX {
            let text = format!("its arguments and variables have {length} bytes, more than {REQUEST_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::ArgumentListTooLong, text));
        }
        frame[..LENGTH_BYTES].copy_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
        Ok(frame)
    }
}

/// A request as a launcher has received it.
pub(super) struct Received {
    bytes: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Received {
    /// The letter of its kind.
    pub(super) fn letter(&self) -> u8 {
        self.bytes[0]
    }

    /// The directory, the program with its arguments, and the environment.
    ///
    /// # Errors
    /// When the frame is none of ours.
    pub(super) fn texts(&self) -> io::Result<(&CStr, Vec<&CStr>, Vec<&CStr>)> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "a request that is no request");
        let words = u32::from_le_bytes(self.bytes[1..HEAD_BYTES].try_into().map_err(io::Error::other)?) as usize;
        let mut rest = &self.bytes[HEAD_BYTES..];
        let mut texts = Vec::new();
        while !rest.is_empty() {
            let text = CStr::from_bytes_until_nul(rest).map_err(|_| broken())?;
            rest = &rest[text.to_bytes_with_nul().len()..];
            texts.push(text);
        }
        if words == 0 || texts.len() < words + 1 {
            return Err(broken());
        }
        let env = texts.split_off(words + 1);
        let words = texts.split_off(1);
        Ok((texts[0], words, env))
    }
}

/// What is done between the request and the program's first instruction, for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Request,
    Process,
    Guard,
    Descriptors,
    Directory,
    Program,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::Request, Self::Process, Self::Guard, Self::Descriptors, Self::Directory, Self::Program];
}

/// Whether anything below a launcher is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftovers {
    None,
    Some,
}

/// What a launcher says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The program runs; the number is its process's and its group's.
    Started(i32),
    /// Nothing runs.
    Refused { step: Step, errno: i32 },
    /// The process is gone; the status is wait's.
    Ended { status: i32, leftovers: Leftovers },
    /// What it left is gone as well.
    Empty,
}

/// The length of every reply.
pub(super) const REPLY_BYTES: usize = 9;

impl Reply {
    pub(super) fn to_bytes(self) -> [u8; REPLY_BYTES] {
        let (tag, one, two) = match self {
            Self::Started(process) => (b's', process, 0),
            Self::Refused { step, errno } => (b'r', step as i32, errno),
            Self::Ended { status, leftovers } => (b'e', status, i32::from(leftovers == Leftovers::Some)),
            Self::Empty => (b'0', 0, 0),
        };
        let mut bytes = [tag; REPLY_BYTES];
        bytes[1..5].copy_from_slice(&one.to_le_bytes());
        bytes[5..].copy_from_slice(&two.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; REPLY_BYTES]) -> io::Result<Self> {
        let [tag, a, b, c, d, e, f, g, h] = bytes;
        let (one, two) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
        let step = usize::try_from(one).ok().and_then(|at| Step::ALL.get(at)).copied();
        match (tag, step) {
            (b's', _) => Ok(Self::Started(one)),
            (b'r', Some(step)) => Ok(Self::Refused { step, errno: two }),
            (b'e', _) => {
                Ok(Self::Ended { status: one, leftovers: if two == 0 { Leftovers::None } else { Leftovers::Some } })
            }
            (b'0', _) => Ok(Self::Empty),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a reply that is no reply")),
        }
    }
}

/// Room for the control message of [`FDS_MAX`] descriptors, aligned as its header must be.
type Control = [MaybeUninit<u64>; 16];

/// Sends as much of a frame as the socket takes, and the descriptors with its first byte; answers how much.
///
/// # Errors
/// Those of the socket; nothing was sent then.
pub(super) fn send_first(socket: RawFd, frame: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    assert!(fds.len() <= FDS_MAX, "a request has few descriptors");
    let mut control: Control = [MaybeUninit::new(0); 16];
    let payload = u32::try_from(mem::size_of_val(fds)).map_err(io::Error::other)?;
    let mut part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
    // SAFETY: a msghdr of zeroes is valid; every pointer set below outlives the call. `control` is aligned for a header
    // and has room for FDS_MAX descriptors, of which there are not more.
    let sent = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(payload) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(payload) as _;
        let data = libc::CMSG_DATA(header).cast::<RawFd>();
        for (at, fd) in fds.iter().enumerate() {
            ptr::write_unaligned(data.add(at), fd.as_raw_fd());
        }
        libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Waits for a whole request; none when the worker has closed its end.
///
/// # Errors
/// Those of the socket, and a frame that is too long.
pub(super) fn receive(socket: RawFd) -> io::Result<Option<Received>> {
    let mut fds = Vec::new();
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut length = None;
    while length.is_none_or(|length| bytes.len() < LENGTH_BYTES + length) {
        let read = receive_some(socket, &mut chunk, &mut fds)?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk[..read]);
        if let (None, Some(head)) = (length, bytes.first_chunk::<LENGTH_BYTES>()) {
            length = Some(u32::from_le_bytes(*head) as usize);
        }
        if length.is_some_and(|length| !(HEAD_BYTES..=REQUEST_BYTES_MAX).contains(&length)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a request of an impossible length"));
        }
    }
    Ok(Some(Received { bytes: bytes.split_off(LENGTH_BYTES), fds }))
}

fn receive_some(socket: RawFd, chunk: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut control: Control = [MaybeUninit::new(0); 16];
    let mut part = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() };
    loop {
        // SAFETY: as for sending; the descriptors that arrive are ours from then on, each taken once.
        let read = unsafe {
            let mut message: libc::msghdr = mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = mem::size_of::<Control>() as _;
            let read = libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC);
            if read >= 0 {
                take_descriptors(&message, fds);
            }
            read
        };
        match usize::try_from(read) {
            Ok(read) => return Ok(read),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// # Safety
/// The message was filled by recvmsg, and its descriptors have not been taken yet.
unsafe fn take_descriptors(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel wrote the headers that these macros walk along, within the message's control buffer.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(one) = header.as_ref() {
            if one.cmsg_level == libc::SOL_SOCKET && one.cmsg_type == libc::SCM_RIGHTS {
                #[allow(clippy::unnecessary_cast, reason = "its type differs between C libraries")]
                let bytes = one.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for at in 0..bytes / mem::size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(at))));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsFd as _, unix::net::UnixStream},
    };

    use super::*;

    fn request(long: &str) -> Request<'_> {
        let words = ["/bin/echo", "", long].map(OsStr::new).to_vec();
        Request { kind: GroupKind::Service, dir: OsStr::new("/tmp"), words, env: vec!["A=1".into(), "B=".into()] }
    }

    #[test]
    fn a_request_arrives_whole_with_its_descriptors_however_long_it_is() {
        for length in [0, 10, 3_000_000] {
            let long = "x".repeat(length);
            let frame = request(&long).frame().unwrap();
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let (mut reader, writer) = io::pipe().unwrap();
            let receiving = std::thread::spawn(move || receive(theirs.as_raw_fd()).unwrap().unwrap());
            let sent = send_first(ours.as_raw_fd(), &frame, &[writer.as_fd()]).unwrap();
            ours.write_all(&frame[sent..]).unwrap();
            drop(writer);
            let received = receiving.join().unwrap();
            assert_eq!((received.letter(), received.fds.len()), (b's', 1));
            let (dir, words, env) = received.texts().unwrap();
            let shown =
                |texts: Vec<&CStr>| texts.iter().map(|text| text.to_str().unwrap().to_owned()).collect::<Vec<_>>();
            assert_eq!(dir, c"/tmp");
            assert_eq!(shown(words), ["/bin/echo", "", &long]);
            assert_eq!(shown(env), ["A=1", "B="]);
            drop(received);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the descriptor is closed with the request");
        }
    }

    #[test]
    fn a_nul_is_refused_with_the_text_that_has_it() {
        let error = request("a\0b").frame().unwrap_err();
        assert!(error.to_string().contains("a\\\\0b"), "{error}");
    }

    #[test]
    fn replies_come_back_as_they_were() {
        for reply in [
            Reply::Started(4_194_304),
            Reply::Refused { step: Step::Program, errno: 2 },
            Reply::Refused { step: Step::Request, errno: 22 },
            Reply::Ended { status: 9, leftovers: Leftovers::Some },
            Reply::Ended { status: 256, leftovers: Leftovers::None },
            Reply::Empty,
        ] {
            assert_eq!(Reply::from_bytes(reply.to_bytes()).unwrap(), reply);
        }
        assert!(Reply::from_bytes([b'x'; REPLY_BYTES]).is_err());
    }
}
