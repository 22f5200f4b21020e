------------------------------- MODULE MCRaft -------------------------------
(***************************************************************************)
(* `Raft' within the bounds of the exploration of the real core            *)
(* (explore/), and with its notion of time and of turns: so that both      *)
(* must have the same states.                                              *)
(*                                                                         *)
(* A node ends its turn after every input: it sends what it has, and waits *)
(* for its disk when that has writes under way.  A clock moves only when a *)
(* deadline comes.  So a node is content exactly if it knows a leader; a   *)
(* leader tries again at each heartbeat where it looks for common ground,  *)
(* and nowhere else; and no disk is slow.                                  *)
(***************************************************************************)
EXTENDS Raft, States, TLC

CONSTANTS
    TermsMax, CampaignsMax, CrashesMax, ProposalsMax, WritesMax,
    FirstLogs,  \* the logs that the nodes begin with, one for each, by the terms of their entries
    FirstLost,  \* which of these entries cannot be read
    FirstHints, \* and how many are known to be committed
    Stands(_),  \* whether a node may stand, for all that is looked at
    EndsWhenLed \* whether nothing is looked at that comes after an election

VARIABLE left   \* [campaigns, crashes, proposals]: how many there may still be

NoLogs == <<<<>>, <<>>, <<>>>>
DifferentLogs == <<<<1, 1>>, <<1>>, <<>>>>
LonelyEntry == <<<<1>>, <<>>, <<>>>>
SharedEntry == <<<<1>>, <<1>>, <<>>>>
NothingLost == <<{}, {}, {}>>
OneCopyLost == <<{1}, {}, {}>>
NoHints == <<0, 0, 0>>
SharedCommitted == <<1, 1, 0>>
MCVoters(x) == Server
MCFirstDisk(s) == Nil
Never(n) == {FALSE}
NoLeases(n) == FALSE
Content(n) == {n.leader # Nil}
TriedAgain(n) == {{p \in DOMAIN n.peers : n.peers[p].probing /\ n.peers[p].flight # <<>>}}
NoTransfer(n) == {n}
Always(n) == {TRUE}
Everybody(n) == TRUE
WhoCannotRead(n) == ~IsWhole(n)

RECURSIVE SentAll(_, _)
SentAll(n, peers) ==
    IF peers = {} THEN n
    ELSE LET p == CHOOSE q \in peers : TRUE
             m == IF MaySend(n, p) THEN Sent(n, p, Last(n)) ELSE n
         IN  SentAll(m, peers \ {p})

TurnTake(s, n) ==
    LET ended == EndTurn(SentAll(n, DOMAIN n.peers))
    IN  /\ node' = [node EXCEPT ![s] = [ended EXCEPT !.out = {}, !.told = {}, !.did = {}]]
        /\ net' = net \cup {[from |-> s, to |-> o.to, m |-> o.m] : o \in ended.out}

\* All have heard of the highest term that there is in a log.
Beginning(place) ==
    LET terms == UNION {{FirstLogs[k][i] : i \in DOMAIN FirstLogs[k]} : k \in DOMAIN FirstLogs}
        term == CHOOSE t \in terms \cup {0} : \A other \in terms : other <= t
        holding(s) == [BlankDisk(Nil, Founding) EXCEPT !.term = term, !.log = FirstLogs[place[s]],
            !.lost = FirstLost[place[s]], !.hint = FirstHints[place[s]]]
    IN  /\ disk = [s \in Server |-> holding(s)]
        /\ node = [s \in Server |->
                Recovered(s, 0, holding(s), 0, holding(s).hint, holding(s).lost, {})]
        /\ net = {} /\ snaps = {}

MCInit ==
    /\ \E place \in [Server -> DOMAIN FirstLogs] :
        /\ \A k \in DOMAIN FirstLogs : \E s \in Server : place[s] = k
        /\ Beginning(place)
    /\ left = [campaigns |-> CampaignsMax, crashes |-> CrashesMax, proposals |-> ProposalsMax]

Waits(s) == Len(node[s].queue) >= WritesMax

Campaigns(s) ==
    /\ left.campaigns > 0 /\ node[s].term < TermsMax
    /\ node[s].role # "leader" /\ Stands(node[s])
    /\ Deadline(s)
    /\ <<node, net>>' # <<node, net>>
    /\ left' = [left EXCEPT !.campaigns = @ - 1]

Crashes(s, kept) ==
    /\ left.crashes > 0
    /\ LET lost == Mended(WrittenAll(disk[s], node[s].queue, kept)).lost
       IN  Restart(s, kept, node[s].life + 1, lost, {})
    /\ left' = [left EXCEPT !.crashes = @ - 1]

Proposes(s) ==
    /\ left.proposals > 0
    /\ Propose(s, 1)
    /\ left' = [left EXCEPT !.proposals = @ - 1]

IsOver == EndsWhenLed /\ \E s \in Server : node[s].role = "leader"

MCNext ==
    ~IsOver /\ \E s \in Server :
        \/ \E count \in 1..Len(node[s].queue) : Persisted(s, count) /\ UNCHANGED left
        \/ \E kept \in 0..Len(node[s].queue) : Crashes(s, kept)
        \/ ~Waits(s) /\ Campaigns(s)
        \/ ~Waits(s) /\ Proposes(s)
        \/ ~Waits(s) /\ node[s].role = "leader" /\ Deadline(s) /\ UNCHANGED left
        \/ ~Waits(s) /\ \E o \in net :
                o.to = s /\ Receive(s, o.from, o.m) /\ UNCHANGED left

\* Every state is written down, to be compared with those of the core.
Noted == Note({<<node[s], disk[s]>> : s \in Server}, net, <<left, snaps>>)

Symmetry == Permutations(Server)
=============================================================================
