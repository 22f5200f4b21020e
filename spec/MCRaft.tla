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
    FirstLogs   \* the logs that the nodes begin with, one for each, by the terms of their entries

VARIABLE left   \* [campaigns, crashes, proposals]: how many there may still be

NoLogs == <<<<>>, <<>>, <<>>>>
DifferentLogs == <<<<1, 1>>, <<1>>, <<>>>>
MCVoters(x) == Server
MCFirstDisk(s) == Nil
Never(n) == {FALSE}
NoLeases(n) == FALSE
Content(n) == {n.leader # Nil}
TriedAgain(n) == {{p \in DOMAIN n.peers : n.peers[p].probing /\ n.peers[p].flight # <<>>}}
NoTransfer(n) == {n}

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
Beginning(f) ==
    LET term == CHOOSE t \in 0..TermsMax :
                    /\ \A s \in Server : \A i \in DOMAIN f[s] : f[s][i] <= t
                    /\ t = 0 \/ \E s \in Server : \E i \in DOMAIN f[s] : f[s][i] = t
        holding(s) == [BlankDisk(Nil, Founding) EXCEPT !.term = term, !.log = f[s]]
    IN  /\ disk = [s \in Server |-> holding(s)]
        /\ node = [s \in Server |-> Recovered(s, 0, holding(s), 0, 0, {}, {})]
        /\ net = {} /\ snaps = {}

MCInit ==
    /\ \E f \in [Server -> {FirstLogs[k] : k \in DOMAIN FirstLogs}] :
        /\ \E names \in [DOMAIN FirstLogs -> Server] :
            /\ \A s \in Server : \E k \in DOMAIN FirstLogs : names[k] = s
            /\ \A k \in DOMAIN FirstLogs : f[names[k]] = FirstLogs[k]
        /\ Beginning(f)
    /\ left = [campaigns |-> CampaignsMax, crashes |-> CrashesMax, proposals |-> ProposalsMax]

Waits(s) == Len(node[s].queue) >= WritesMax

Campaigns(s) ==
    /\ left.campaigns > 0 /\ node[s].term < TermsMax
    /\ node[s].role # "leader"
    /\ Deadline(s)
    /\ <<node, net>>' # <<node, net>>
    /\ left' = [left EXCEPT !.campaigns = @ - 1]

Crashes(s, kept) ==
    /\ left.crashes > 0
    /\ Restart(s, kept, node[s].life + 1, {}, {})
    /\ left' = [left EXCEPT !.crashes = @ - 1]

Proposes(s) ==
    /\ left.proposals > 0
    /\ Propose(s, 1)
    /\ left' = [left EXCEPT !.proposals = @ - 1]

MCNext ==
    \E s \in Server :
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
