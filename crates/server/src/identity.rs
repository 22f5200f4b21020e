//! Names for clusters and members: the same numbers on every member, without asking anyone.
//! Never random for those who begin a cluster: all derive them from the same flags. Who comes later
//! gets an id that nobody had.
//!
//! A member's id is a hash of the cluster's token, the member's name and its peer URLs; the
//! cluster's id is a hash of the token and all member ids. The hash is 64-bit FNV-1a over
//! length-prefixed parts, mixed at the end so that similar names give ids that look nothing alike.
//! The ids stand in every data directory: a change here would make old data foreign.
//!
//! # Source
//! Fowler, Noll and Vo's hash; the finalizer of Steele, Lea and Flood's SplitMix.

use headwater_raft::NodeId;
use headwater_runtime::dice;

/// The id of the member `name` with `peer_urls` in the cluster of `token`. The order of the URLs
/// does not matter.
pub fn member_id(token: &str, name: &str, peer_urls: &[String]) -> NodeId {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    let mut hash = Hash::new("member");
    hash.part(token.as_bytes());
    hash.part(name.as_bytes());
    for url in urls {
        hash.part(url.as_bytes());
    }
    NodeId(hash.finish())
}

/// An id for a new member of `cluster` that its peers reach at `peer_urls`: another one each time.
pub fn new_member_id(cluster: u64, peer_urls: &[String]) -> NodeId {
    let mut hash = Hash::new("new member");
    hash.part(&cluster.to_be_bytes());
    for url in peer_urls {
        hash.part(url.as_bytes());
    }
    hash.part(&dice::u128().to_be_bytes());
    NodeId(hash.finish())
}

/// The id of the cluster of `token` that starts with `members`. Their order does not matter.
pub fn cluster_id(token: &str, members: impl IntoIterator<Item = NodeId>) -> u64 {
    let mut ids: Vec<u64> = members.into_iter().map(|id| id.0).collect();
    ids.sort_unstable();
    let mut hash = Hash::new("cluster");
    hash.part(token.as_bytes());
    for id in ids {
        hash.part(&id.to_be_bytes());
    }
    hash.finish()
}

/// The id of a cluster that `cluster`'s flags begin with the data of a snapshot: members that were made of
/// another one, or of none, are of another cluster, for their logs have nothing in common with its.
pub fn restored_cluster_id(cluster: u64, snapshot: &[u8]) -> u64 {
    let mut hash = Hash::new("restored");
    hash.part(&cluster.to_be_bytes());
    hash.part(snapshot);
    hash.finish()
}

struct Hash(u64);

impl Hash {
    fn new(kind: &str) -> Self {
        let mut hash = Self(0xcbf2_9ce4_8422_2325);
        hash.part(kind.as_bytes());
        hash
    }

    /// The length goes first, so that `("ab", "c")` and `("a", "bc")` differ.
    fn part(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_be_bytes();
        for &byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Zero is no node, so it is never returned.
    fn finish(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|&url| url.to_owned()).collect()
    }

    #[test]
    fn ids_never_change_between_versions() {
        let id = member_id("etcd-cluster", "default", &urls(&["http://localhost:2380"]));
        assert_eq!(id.0, 4_752_816_823_868_115_504);
        assert_eq!(cluster_id("etcd-cluster", [id]), 3_730_972_676_689_506_355);
    }

    #[test]
    fn the_order_of_flags_does_not_matter() {
        let ab = member_id("t", "n", &urls(&["http://a:1", "http://b:1"]));
        let ba = member_id("t", "n", &urls(&["http://b:1", "http://a:1"]));
        assert_eq!(ab, ba);
        assert_eq!(
            cluster_id("t", [NodeId(1), NodeId(2)]),
            cluster_id("t", [NodeId(2), NodeId(1)])
        );
    }

    #[test]
    fn every_part_counts() {
        let id = member_id("t", "n", &urls(&["http://a:1"]));
        assert_ne!(id, member_id("u", "n", &urls(&["http://a:1"])));
        assert_ne!(id, member_id("t", "m", &urls(&["http://a:1"])));
        assert_ne!(id, member_id("t", "n", &urls(&["http://a:2"])));
        assert_ne!(member_id("ab", "c", &[]), member_id("a", "bc", &[]));
        assert_ne!(cluster_id("t", [NodeId(1)]), cluster_id("u", [NodeId(1)]));
    }
}
