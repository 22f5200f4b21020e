//! Leases for whoever asks, on whichever member: only the leader knows how long one has left, so the
//! others ask it, as they do for changes of members.
//! Never decides when a lease ends: the lessor does.
//!
//! # Source
//! etcd: followers pass renewals on to the leader; docs/wire.md, "What servers say to each other".

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use headwater_kv::agreement::Claim;
use headwater_kv::auth::Asker;
use headwater_kv::lessor::Renewal;
use headwater_kv::request::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use crate::backend::Backend;
use crate::changes;
use crate::company::{Asked, Call};
use crate::failure::Failure;
use crate::renewals::Renew;

/// Questions of other members that may be under way here; who asks more asks again.
const QUESTIONS_MAX: usize = 1 << 14;

/// After so long without an answer whoever leads then is asked again: the note may be lost, or the
/// leader paused. Well below the shortest life of a lease.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// How long to wait before the next attempt to find a leader that answers.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a renewal may find that something must be written down first.
const ATTEMPTS_MAX: usize = 3;

/// What only the leader knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// Renew this lease.
    Renew(i64),
    /// How long has this lease left?
    TimeLeft(i64),
    /// Change the members; what exactly, `changes` knows.
    Change(Bytes),
}

/// What the leader says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// So many seconds: those that a lease has again, or has left.
    Seconds(i64),
    /// There is no such lease.
    Gone,
    /// This member does not lead, or cannot confirm that it does.
    NotNow,
    /// What became of a change of members; `changes` reads it.
    Changed(Bytes),
}

impl Question {
    /// Its bytes in a note.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Renew(id) => encode(1, *id, &[]),
            Self::TimeLeft(id) => encode(2, *id, &[]),
            Self::Change(change) => encode(3, 0, change),
        }
    }
}

impl Answer {
    /// Its bytes in a note.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Seconds(seconds) => encode(16, *seconds, &[]),
            Self::Gone => encode(17, 0, &[]),
            Self::NotNow => encode(18, 0, &[]),
            Self::Changed(outcome) => encode(19, 0, outcome),
        }
    }
}

fn encode(kind: u8, number: i64, rest: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(9 + rest.len());
    bytes.put_u8(kind);
    bytes.put_i64_le(number);
    bytes.put_slice(rest);
    bytes.into()
}

/// What a leader claims to have written, as a note.
pub fn encode_claim(claim: &Claim) -> Bytes {
    encode(4, 0, &claim.encode())
}

/// Whether another member is there, as a note.
pub fn encode_ping() -> Bytes {
    encode(5, 0, &[])
}

/// That this member is there, as a note.
pub fn encode_pong() -> Bytes {
    encode(20, 0, &[])
}

/// What a note says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Says {
    /// What the leader has written.
    Claims(Claim),
    /// It asks.
    Asks(Question),
    /// It answers.
    Answers(Answer),
    /// It asks whether this member is there.
    Pings,
    /// It answers that.
    Pongs,
}

impl Says {
    /// Reads a note; `None` if it is of no kind known here.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < 9 {
            return None;
        }
        let (kind, number) = (bytes.get_u8(), bytes.get_i64_le());
        Some(match kind {
            3 => Self::Asks(Question::Change(bytes)),
            4 => Self::Claims(Claim::decode(&bytes)?),
            19 => Self::Answers(Answer::Changed(bytes)),
            _ if !bytes.is_empty() => return None,
            1 => Self::Asks(Question::Renew(number)),
            2 => Self::Asks(Question::TimeLeft(number)),
            16 => Self::Answers(Answer::Seconds(number)),
            17 => Self::Answers(Answer::Gone),
            5 => Self::Pings,
            18 => Self::Answers(Answer::NotNow),
            20 => Self::Pongs,
            _ => return None,
        })
    }
}

/// Asks the leader, whoever that is, until it answers or the request's time is up.
///
/// # Errors
/// See [`Failure`].
pub async fn ask(backend: &Backend, question: Question) -> Result<Answer, Failure> {
    // What is asked twice is done twice, which leases and new URLs do not mind. Others wait for the one
    // whom they asked, who may be gone.
    let patience = match &question {
        Question::Change(change) if !changes::may_be_asked_twice(change) => {
            backend.limits().request_timeout
        }
        _ => ANSWER_TIME,
    };
    let deadline = Instant::now() + backend.limits().request_timeout;
    loop {
        let answer = match backend.leader() {
            Some(leader) if leader == backend.cluster().me => answer(backend, &question).await?,
            Some(leader) => {
                let question = question.clone();
                let asked = backend
                    .desk()
                    .call(|answer| Call::Ask(leader, question, answer));
                match timeout(patience, asked).await {
                    Ok(answer) => answer?,
                    Err(_) => Answer::NotNow,
                }
            }
            None => Answer::NotNow,
        };
        if answer != Answer::NotNow {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(match backend.leader() {
                Some(_) => Failure::TimedOut,
                None => Failure::NoLeader,
            });
        }
        sleep(PAUSE).await;
    }
}

/// Answers the questions of other members, for ever.
pub async fn answer_others(backend: Arc<Backend>, mut questions: mpsc::UnboundedReceiver<Asked>) {
    let room = Arc::new(Semaphore::new(QUESTIONS_MAX));
    while let Some((from, number, question)) = questions.recv().await {
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let answer = answer(&backend, &question).await.unwrap_or(Answer::NotNow);
            backend.note(from, number, answer.encode());
            drop(permit);
        });
    }
}

/// What this member has to say, if it leads.
async fn answer(backend: &Backend, question: &Question) -> Result<Answer, Failure> {
    match *question {
        Question::Change(ref change) => Ok(changes::answer(backend, change).await),
        Question::Renew(id) => renew(backend, id).await,
        Question::TimeLeft(id) => {
            let left = backend.desk().call(|left| Call::TimeLeft(id, left)).await?;
            Ok(left.map_or(Answer::NotNow, Answer::Seconds))
        }
    }
}

/// Renews a lease if this member leads, for the member that was asked, and knows that its client may.
async fn renew(backend: &Backend, id: i64) -> Result<Answer, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        let asker = Some(Asker::Server);
        let renew = |answer| Call::Renew(Renew { id, asker, answer });
        match backend.desk().call(renew).await?.result {
            Ok(Renewal::Renewed(ttl)) => return Ok(Answer::Seconds(ttl)),
            Ok(Renewal::Gone) => return Ok(Answer::Gone),
            Ok(Renewal::First(checkpoint)) => {
                // Whether it came about is seen by the next attempt.
                let _ = backend.propose(&Command::LeaseCheckpoint(checkpoint)).await;
            }
            Err(Failure::Stopped) => return Err(Failure::Stopped),
            Ok(Renewal::NotLeading) | Err(_) => return Ok(Answer::NotNow),
        }
    }
    Ok(Answer::NotNow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_as_it_went() {
        let change = Question::Change(Bytes::from_static(b"whatever"));
        for question in [Question::Renew(-7), Question::TimeLeft(1 << 62), change] {
            assert_eq!(Says::decode(question.encode()), Some(Says::Asks(question)));
        }
        assert_eq!(Says::decode(encode_ping()), Some(Says::Pings));
        assert_eq!(Says::decode(encode_pong()), Some(Says::Pongs));
        let changed = Answer::Changed(Bytes::from_static(b""));
        for answer in [Answer::Seconds(60), Answer::Gone, Answer::NotNow, changed] {
            assert_eq!(Says::decode(answer.encode()), Some(Says::Answers(answer)));
        }
    }

    #[test]
    fn a_note_of_another_make_is_not_heard() {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x04\0\0\0\0\0\0\0\0",
            b"\x06\0\0\0\0\0\0\0\0",
            b"\x01\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(Says::decode(Bytes::copy_from_slice(bytes)), None);
        }
    }
}
