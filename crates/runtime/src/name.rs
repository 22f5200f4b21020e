//! How ids of nodes, clusters and incarnations are written where people read them.
//! Never used on disk or on the wire: there they are numbers.
//!
//! # Source
//! `etcdctl`, which shows ids in hexadecimal without leading zeros.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, LowerHex, Result};

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

/// What people call the nodes, for log lines.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Names(BTreeMap<NodeId, String>);

impl Names {
    /// The name of a node beside its id; the id alone of one without a name.
    pub fn of(&self, node: NodeId) -> String {
        let id = hex(node.0);
        match self.0.get(&node) {
            Some(name) => format!("{name} ({id})"),
            None => id.to_string(),
        }
    }
}

impl FromIterator<(NodeId, String)> for Names {
    fn from_iter<I: IntoIterator<Item = (NodeId, String)>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}
