//! What a server tells whoever asks at its port for peers: the cluster and its members. A new member
//! finds its id so, and one that was removed or lost its disk that it has no place here.
//! Never asked for by clients: they have `MemberList`.
//!
//! # Source
//! etcd: a new server asks those that run for the members; docs/wire.md, "Who is here?".

use std::collections::BTreeSet;

use bytes::Bytes;
use headwater_runtime::tls::TlsSource;
use headwater_runtime::{Config, Index, card};
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
    /// The last entry that whoever wrote this had applied: of two cards the one with the higher is
    /// the newer.
    #[prost(fixed64, tag = "4")]
    pub applied: u64,
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
    pub fn new(
        cluster: u64,
        members: &[Member],
        removed: &[u64],
        (config, applied): (&Config, Index),
    ) -> Self {
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
            applied: applied.0,
        }
    }

    /// The newest of these, each with the URL at which it was given.
    ///
    /// # Errors
    /// Two of them cannot be of one cluster: which, and why, in words. Ids never come back and a
    /// member never gets another data directory, so no change of members explains it.
    pub fn newest(cards: &[(String, Self)]) -> Result<Option<&(String, Self)>, String> {
        let newest = cards.iter().max_by_key(|(_, card)| card.applied);
        let Some((at, card)) = newest else {
            return Ok(None);
        };
        for (other_at, other) in cards {
            if let Some(why) = card.contradicts(other) {
                return Err(format!("{other_at} and {at} contradict each other: {why}"));
            }
        }
        Ok(newest)
    }

    /// What this card says that cannot be true if `older` ever was; `None` if both may be.
    fn contradicts(&self, older: &Self) -> Option<String> {
        if self.cluster != older.cluster {
            return Some(format!(
                "one belongs to cluster {:x}, the other to cluster {:x}",
                older.cluster, self.cluster
            ));
        }
        let is_member = |id: &&u64| self.member(**id).is_some();
        if let Some(id) = older.removed.iter().find(is_member) {
            return Some(format!(
                "member {id:x} has been removed, says one, and is a member, says the other"
            ));
        }
        let has_other_disk = |member: &&Named| {
            let here = self.member(member.id).map(|member| &member.disk);
            here.is_some_and(|here| {
                !here.is_empty() && !member.disk.is_empty() && *here != member.disk
            })
        };
        let other = older.members.iter().find(has_other_disk)?;
        Some(format!(
            "they know different data directories of member {:x}",
            other.id
        ))
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Asks at a peer's address; `tls` where the address says that it is spoken there.
    ///
    /// # Errors
    /// Why there is no card, in words.
    pub async fn ask(address: &str, tls: Option<&TlsSource>) -> Result<Self, String> {
        let bytes = card::ask(address, tls)
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

    /// Why the data directory of the member with this name and id has no place in this cluster any
    /// more; `None` if it may have one. `disk`: its incarnation; none if it is empty.
    pub fn refuses(&self, (name, id): (&str, u64), disk: Option<u128>) -> Option<String> {
        if self.removed.contains(&id) {
            return Some(format!(
                "this member, \"{name}\" ({id:x}), has been removed from the cluster for good. To let \
                 this machine take part again, empty the data directory, say `etcdctl member add \
                 {name} --peer-urls=URL` and start with --initial-cluster-state existing"
            ));
        }
        let known = self.member(id).map(|member| &member.disk[..])?;
        let is_other = match disk {
            Some(disk) => known != disk.to_le_bytes(),
            None => true,
        };
        (!known.is_empty() && is_other).then(|| {
            format!(
                "this member, \"{name}\" ({id:x}), has another data directory in the cluster than this \
                 one: if that was lost, so is what the member promised to the others, and it cannot \
                 go on. Replace it: `etcdctl member remove {id:x}`, then `etcdctl member add {name} \
                 --peer-urls=URL`, and start with an empty data directory and \
                 --initial-cluster-state existing"
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
            applied: 9,
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
    fn of_cards_that_agree_the_newest_counts_and_others_are_refused() {
        let at = |url: &str, card: Card| (url.to_owned(), card);
        let newest = |cards: &[(String, Card)]| {
            Card::newest(cards).map(|newest| newest.map(|(at, _)| at.clone()))
        };
        assert_eq!(newest(&[]), Ok(None));
        let mut newer = card();
        newer.applied = 10;
        // Who was not met yet has been since, and another has gone.
        newer.members[1].disk = Bytes::from_static(b"\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        newer.members.remove(0);
        newer.removed.push(1);
        let cards = [at("new", newer), at("old", card())];
        assert_eq!(newest(&cards), Ok(Some("new".to_owned())));
        let contradiction = |change: fn(&mut Card)| {
            let mut other = card();
            other.applied = 10;
            change(&mut other);
            newest(&[at("a", card()), at("b", other)]).unwrap_err()
        };
        let text = contradiction(|other| other.cluster = 8);
        assert!(
            text.contains(
                "a and b contradict each other: one belongs to cluster 7, the other to cluster 8"
            ),
            "{text}"
        );
        let text = contradiction(|other| other.members[0].id = 3);
        assert!(text.contains("member 3 has been removed"), "{text}");
        let text = contradiction(|other| other.members[0].disk = Bytes::from_static(b"6"));
        assert!(
            text.contains("different data directories of member 1"),
            "{text}"
        );
    }

    #[test]
    fn a_place_is_for_the_disk_that_the_members_know() {
        let refuses = |id, disk| card().refuses(("n", id), disk);
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
        let text = refuses(3, Some(5)).unwrap();
        assert!(text.contains("\"n\" (3), has been removed"), "{text}");
        assert!(text.contains("member add n --peer-urls"), "{text}");
    }
}
