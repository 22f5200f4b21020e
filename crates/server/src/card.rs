//! What a server tells whoever asks at its port for peers: the cluster and its members. A new member
//! finds its id so, and one that was removed or lost its disk that it has no place here.
//! Never asked for by clients: they have `MemberList`.
//!
//! # Source
//! etcd: a new server asks those that run for the members; docs/wire.md, "Who is here?".

use std::collections::BTreeSet;

use bytes::Bytes;
use headwater_runtime::{Config, card};
use prost::Message;

use crate::config::Member;

/// Who is here.
#[derive(Clone, PartialEq, Message)]
pub struct Card {
    /// The cluster's id.
    #[prost(fixed64, tag = "1")]
    pub cluster: u64,
    /// The members.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Named>,
    /// Who was one.
    #[prost(fixed64, repeated, tag = "3")]
    pub removed: Vec<u64>,
}

/// A member on a card.
#[derive(Clone, PartialEq, Message)]
pub struct Named {
    /// Its id.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// Its name; empty before its first start.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where its peers reach it.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// The incarnation of its data directory; empty if none has been met yet.
    #[prost(bytes = "bytes", tag = "4")]
    pub disk: Bytes,
}

impl Card {
    /// The card of a cluster.
    pub fn new(cluster: u64, members: &[Member], removed: &[u64], config: &Config) -> Self {
        let named = |member: &Member| Named {
            id: member.id.0,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            disk: config.disk_of(member.id).map_or_else(Bytes::new, |disk| {
                Bytes::copy_from_slice(&disk.0.to_le_bytes())
            }),
        };
        Self {
            cluster,
            members: members.iter().map(named).collect(),
            removed: removed.to_vec(),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Asks at a peer's address.
    ///
    /// # Errors
    /// Why there is no card, in words.
    pub async fn ask(address: &str) -> Result<Self, String> {
        let bytes = card::ask(address)
            .await
            .map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return Err("it has just begun".to_owned());
        }
        Self::decode(bytes).map_err(|error| error.to_string())
    }

    /// The member of this id.
    pub fn member(&self, id: u64) -> Option<&Named> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The member that its peers reach at these URLs, in any order.
    pub fn member_at(&self, peer_urls: &[String]) -> Option<&Named> {
        let wanted: BTreeSet<_> = peer_urls.iter().collect();
        let mut members = self.members.iter();
        members.find(|member| member.peer_urls.iter().collect::<BTreeSet<_>>() == wanted)
    }

    /// Why a data directory has no place in this cluster any more; `None` if it may have one.
    /// `disk`: its incarnation; none if it is empty.
    pub fn refuses(&self, id: u64, disk: Option<u128>) -> Option<String> {
        if self.removed.contains(&id) {
            return Some(format!(
                "member {id:x} has been removed from the cluster for good; to let this machine take \
                 part again, empty the data directory, say `etcdctl member add NAME --peer-urls=URL` \
                 and start with --initial-cluster-state existing"
            ));
        }
        let known = self.member(id).map(|member| &member.disk[..])?;
        let is_other = match disk {
            Some(disk) => known != disk.to_le_bytes(),
            None => true,
        };
        (!known.is_empty() && is_other).then(|| {
            format!(
                "member {id:x} of the cluster has another data directory than this one: if that was \
                 lost, so is what the member promised to the others, and it cannot go on. Replace \
                 it: `etcdctl member remove {id:x}`, then `etcdctl member add NAME --peer-urls=URL`, \
                 and start with an empty data directory and --initial-cluster-state existing"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        let named = |id: u64, disk: &'static [u8]| Named {
            id,
            name: format!("n{id}"),
            peer_urls: vec![format!("http://a:{id}"), format!("http://b:{id}")],
            disk: Bytes::from_static(disk),
        };
        Card {
            cluster: 7,
            members: vec![
                named(1, b"\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
                named(2, b""),
            ],
            removed: vec![3],
        }
    }

    #[test]
    fn a_card_comes_back_as_it_went() {
        assert_eq!(Card::decode(card().encode()), Ok(card()));
    }

    #[test]
    fn a_member_is_found_by_its_peer_urls_in_any_order() {
        let urls = |urls: &[&str]| urls.iter().map(|&url| url.to_owned()).collect::<Vec<_>>();
        let at = |them: &[&str]| card().member_at(&urls(them)).map(|member| member.id);
        assert_eq!(at(&["http://b:2", "http://a:2"]), Some(2));
        assert_eq!(at(&["http://a:2"]), None);
        assert_eq!(at(&["http://a:2", "http://b:1"]), None);
    }

    #[test]
    fn a_place_is_for_the_disk_that_the_members_know() {
        let refuses = |id, disk| card().refuses(id, disk);
        assert_eq!(refuses(1, Some(5)), None, "its own");
        assert!(
            refuses(1, Some(6))
                .unwrap()
                .contains("etcdctl member remove 1`")
        );
        assert!(refuses(1, None).unwrap().contains("another data directory"));
        assert_eq!(refuses(2, None), None, "it was never met");
        assert_eq!(refuses(2, Some(6)), None);
        assert_eq!(refuses(9, Some(6)), None, "the card may be old");
        assert!(refuses(3, Some(5)).unwrap().contains("has been removed"));
    }
}
