//! Alarms: what some member has found to be wrong, and what is refused for as long as nobody says that
//! it is mended.
//! Never raised by the store itself: how large it may become is a setting of each server, and equal
//! commands must leave equal stores.
//!
//! # Source
//! etcd's alarms: `AlarmRequest`, and what its applier refuses while one is raised.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::request::{Alarm, AlarmKind, AlarmRequest, Command, KvError};
use crate::txn::has_put;
use crate::wire::{Reader, put_uint};

/// How many alarms are kept: one of each kind for as many members as there may have been.
const ALARMS_MAX: usize = 1 << 12;

/// The alarms that are raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarms(BTreeSet<Alarm>);

impl Alarms {
    /// Those of a kind, or all: in the order of kinds, then of members.
    pub(crate) fn of(&self, kind: Option<AlarmKind>) -> Vec<Alarm> {
        let alarms = self.0.iter().copied();
        alarms
            .filter(|alarm| kind.is_none_or(|kind| kind == alarm.kind))
            .collect()
    }

    /// Raises an alarm or ends it; the alarm, unless there was none to end.
    pub(crate) fn change(&mut self, request: &AlarmRequest) -> Vec<Alarm> {
        let alarm = request.alarm;
        let is_told = if request.is_raised {
            let has_room = self.0.len() < ALARMS_MAX;
            self.0.contains(&alarm) || (has_room && self.0.insert(alarm))
        } else {
            self.0.remove(&alarm)
        };
        is_told.then_some(alarm).into_iter().collect()
    }

    /// Whether a command may be carried out while these are raised: a full store takes nothing that
    /// makes it larger, a corrupt one nothing that clients ask for.
    pub(crate) fn check(&self, command: &Command) -> Result<(), KvError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let has = |kind| self.0.iter().any(|alarm| alarm.kind == kind);
        let grows = match command {
            Command::Put(_) | Command::LeaseGrant(_) => true,
            Command::Txn(request) => has_put(request),
            _ => false,
        };
        let is_clients = match command {
            Command::Put(_)
            | Command::LeaseGrant(_)
            | Command::Txn(_)
            | Command::DeleteRange(_)
            | Command::Compact(_) => true,
            // Time does not stand still.
            Command::LeaseRevoke(request) => request.ended.is_none(),
            _ => false,
        };
        if is_clients && has(AlarmKind::Corrupt) {
            Err(KvError::Corrupt)
        } else if grows && has(AlarmKind::NoSpace) {
            Err(KvError::NoSpace)
        } else {
            Ok(())
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in the next of a snapshot's alarms; they come in order.
    pub(crate) fn restore(&mut self, alarm: Alarm) -> Result<(), &'static str> {
        if self.0.len() >= ALARMS_MAX || self.0.last().is_some_and(|last| *last >= alarm) {
            return Err("alarms out of order, or too many");
        }
        self.0.insert(alarm);
        Ok(())
    }
}

/// Writes an alarm: its kind, then the member.
pub(crate) fn put_alarm(out: &mut Vec<u8>, alarm: Alarm) {
    out.push(match alarm.kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    });
    put_uint(out, alarm.member);
}

/// Reads what [`put_alarm`] wrote.
pub(crate) fn read_alarm(reader: &mut Reader<'_>) -> Option<Alarm> {
    let kind = match reader.byte()? {
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return None,
    };
    let member = reader.uint()?;
    Some(Alarm { kind, member })
}
