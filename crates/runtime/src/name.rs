//! How ids of nodes, clusters and incarnations are written where people read them.
//! Never used on disk or on the wire: there they are numbers.
//!
//! # Source
//! `etcdctl`, which shows ids in hexadecimal without leading zeros.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, LowerHex, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_raft::NodeId;

/// An id as log lines and error texts show it, so that it is found again in what tools print.
pub fn hex(id: impl LowerHex) -> impl Display {
    Hex(id)
}

struct Hex<T>(T);

impl<T: LowerHex> Display for Hex<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:x}", self.0)
    }
}

/// What people call the nodes, for log lines. Copies are one: what is set in one counts in all. The
/// lock is held for a look.
#[derive(Clone, Default, Debug)]
pub struct Names(Arc<Mutex<BTreeMap<NodeId, String>>>);

impl Names {
    /// The name of a node beside its id; the id alone of one without a name.
    pub fn of(&self, node: NodeId) -> String {
        let id = hex(node.0);
        match self.known().get(&node) {
            Some(name) => format!("{name} ({id})"),
            None => id.to_string(),
        }
    }

    /// From now on a node is called so.
    pub fn set(&self, node: NodeId, name: String) {
        self.known().insert(node, name);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromIterator<(NodeId, String)> for Names {
    fn from_iter<I: IntoIterator<Item = (NodeId, String)>>(names: I) -> Self {
        Self(Arc::new(Mutex::new(names.into_iter().collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_learnt_later_counts_in_every_copy() {
        let names = Names::default();
        let copy = names.clone();
        assert_eq!(copy.of(NodeId(0xb2)), "b2");
        names.set(NodeId(0xb2), "n2".to_owned());
        assert_eq!(copy.of(NodeId(0xb2)), "n2 (b2)");
    }
}
