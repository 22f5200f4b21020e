-------------------------------- MODULE Raft --------------------------------
(***************************************************************************)
(* Headwater's algorithm with its messages: nodes, their disks, and a      *)
(* network that may lose, delay, double and reorder whatever is sent.      *)
(*                                                                         *)
(* A step of a node is a call of the core: an input, a client's request,   *)
(* an append that leaves, the end of a turn.  `RaftNode' says what a step  *)
(* makes of one node; here stands when it may happen.                      *)
(*                                                                         *)
(* No message is ever taken off `net'.  One that never arrives was lost,   *)
(* one that arrives twice was doubled.                                     *)
(*                                                                         *)
(* Source: crates/raft, "How to drive it"; Ongaro and Ousterhout.          *)
(***************************************************************************)
EXTENDS RaftNode

CONSTANTS
    Server,         \* all nodes, members or not
    FirstVoters(_), \* who votes at the beginning; the argument is of no meaning
    FirstDisk(_)    \* the name of a node's first disk; Nil if disks are not told apart

VARIABLES
    node,   \* [Server -> node]: what a node believes
    disk,   \* [Server -> disk]: what it will believe after a crash
    net,    \* every message ever sent: [from, to, m]
    snaps   \* every snapshot ever made: [base, baseTerm, config]

vars == <<node, disk, net, snaps>>

(********************************** disks **********************************)

Founding == Config(FirstVoters(0), {}, {}, {}, <<>>)

\* A disk without content. Its name is that of its node until it is lost (rule R13). `snap' is the
\* last entry that the newest durable snapshot covers; `lost', which entries cannot be read.
BlankDisk(name, config) ==
    [name |-> name, term |-> 0, vote |-> Nil, base |-> 0, baseTerm |-> 0, log |-> <<>>,
     configs |-> <<>>, lost |-> {}, hint |-> 0, snap |-> 0, snapTerm |-> 0, snapConfig |-> config]

\* A disk after one more write.
Written(d, w) ==
    LET hard == [d EXCEPT !.term = w.term, !.vote = w.vote, !.hint = w.hint]
        kept == w.prev - d.base
    IN  CASE w.kind = "same" -> hard
          [] w.kind = "reset" -> [hard EXCEPT !.base = w.prev, !.baseTerm = w.terms[1],
                                    !.log = <<>>, !.configs = <<>>, !.lost = {}]
          [] w.kind = "repair" -> [hard EXCEPT !.lost = @ \ (w.prev + 1..w.prev + Len(w.terms))]
          [] OTHER -> [hard EXCEPT !.log = SubSeq(@, 1, kept) \o w.terms,
                        !.lost = {i \in @ : i <= w.prev},
                        !.configs = SelectSeq(@, LAMBDA c : c.at <= w.prev) \o w.configs]

RECURSIVE WrittenAll(_, _, _)
WrittenAll(d, queue, count) ==
    IF count = 0 THEN d ELSE WrittenAll(Written(d, Head(queue)), Tail(queue), count - 1)

\* A snapshot up to `base' has become durable.
Snapped(d, base, baseTerm, config) ==
    IF base <= d.snap THEN d
    ELSE [d EXCEPT !.snap = base, !.snapTerm = baseTerm, !.snapConfig = config]

Snapshot(base, baseTerm, config) == [base |-> base, baseTerm |-> baseTerm, config |-> config]

\* A log that does not hold what the snapshot covers last is void: it begins anew behind it.
IsVoid(d) ==
    IF d.snap > d.base + Len(d.log) THEN TRUE
    ELSE IF d.snap > d.base THEN d.log[d.snap - d.base] # d.snapTerm
    ELSE d.snap = d.base /\ d.baseTerm # d.snapTerm
Mended(d) ==
    IF IsVoid(d)
    THEN [d EXCEPT !.base = d.snap, !.baseTerm = d.snapTerm, !.log = <<>>, !.configs = <<>>,
                   !.lost = {}]
    ELSE d

\* What a life may begin with: where its log begins, of what the disk has not let go, and the
\* commit index, which every write bears as it was.
Bases(d) == {d.base}
Hints(d) == {d.hint}

Init ==
    /\ disk = [s \in Server |-> BlankDisk(FirstDisk(s),
                IF s \in FirstVoters(0) THEN Founding ELSE NoConfig)]
    /\ node = [s \in Server |-> Recovered(s, 0, disk[s], 0, 0, {}, {})]
    /\ net = {}
    /\ snaps = {}

(********************************** steps **********************************)

\* What a node wanted sent is on the wire, what it told is told, and it goes on from there.
Take(s, n) ==
    /\ node' = [node EXCEPT ![s] = [n EXCEPT !.out = {}, !.told = {}, !.did = {}]]
    /\ net' = net \cup {[from |-> s, to |-> o.to, m |-> o.m] : o \in n.out}

\* The same after an input, after which a leader minds its transfer.
Step(s, outcomes) ==
    /\ \E n \in outcomes : \E minded \in MindTransfer(n) : Take(s, minded)

\* A message that was sent may arrive, now and ever after.
IsSent(from, to, m) == [from |-> from, to |-> to, m |-> m] \in net

Receive(s, from, m) ==
    /\ IsSent(from, s, m)
    /\ Step(s, OnMessage(node[s], from, m))
    /\ UNCHANGED <<disk, snaps>>

Deadline(s) ==
    /\ Step(s, OnDeadline(node[s]))
    /\ UNCHANGED <<disk, snaps>>

\* The oldest writes under way become durable, and the node hears of it.
Persisted(s, count) ==
    /\ count \in 1..Len(node[s].queue)
    /\ disk' = [disk EXCEPT ![s] = WrittenAll(@, node[s].queue, count)]
    /\ Step(s, OnPersisted(node[s], count))
    /\ UNCHANGED snaps

Link(s, peer, up) ==
    /\ Step(s, {OnLink(node[s], peer, up)})
    /\ UNCHANGED <<disk, snaps>>

Meet(s, peer, name) ==
    /\ Step(s, OnMet(node[s], peer, name))
    /\ UNCHANGED <<disk, snaps>>

\* A client's commands are appended; not while leadership is handed over.
Propose(s, count) ==
    LET n == node[s]
        terms == [i \in 1..count |-> n.term]
    IN  /\ n.role = "leader" /\ n.transfer = Nil
        /\ Take(s, PersistEntries(AppendEntries(n, terms, <<>>), Last(n), terms, <<>>, FALSE))
        /\ UNCHANGED <<disk, snaps>>

\* An operator changes the members (rule R8); what is known of the disks of those who stay is kept.
Reconfigure(s, target) ==
    LET n == node[s]
        disks == Restrict(Current(n).disks, Members(target))
    IN  /\ IsSettled(n) /\ n.transfer = Nil /\ ~IsJoint(Current(n))
        /\ ~IsJoint(target) /\ target.voters # {}
        /\ [target EXCEPT !.disks = <<>>] # [Current(n) EXCEPT !.disks = <<>>]
        /\ Take(s, ChangeTo(n, [target EXCEPT !.disks = disks]))
        /\ UNCHANGED <<disk, snaps>>

Transfer(s, to) ==
    LET n == node[s]
    IN  /\ n.role = "leader" /\ n.transfer = Nil /\ to \in Current(n).voters \ {s}
        /\ Step(s, {[n EXCEPT !.transfer = to, !.urged = FALSE]})
        /\ UNCHANGED <<disk, snaps>>

\* A client's read: from a round, from a lease, or, if it may be somewhat old, from what is known.
Read(s, id, level) ==
    LET n == node[s]
        lost == Tell(n, [type |-> "read", id |-> id, at |-> -1])
        known == Tell(n, [type |-> "read", id |-> id, at |-> n.mark])
        asks == [n EXCEPT !.asks = @ \cup {[id |-> id, lease |-> level = "lease"]}]
        asked == IF n.role = "leader"
            THEN TakeRead(n, [who |-> s, id |-> id, life |-> n.life], level = "lease")
            ELSE IF n.role = "follower" /\ n.leader # Nil
            THEN {Send(asks, n.leader, ReadAsk(id, n.life, level = "lease"))}
            ELSE {lost}
        old == IF level = "bounded" /\ n.mark # -1 THEN {known} ELSE {}
    IN  /\ \E m \in asked \cup old : Take(s, m)
        /\ UNCHANGED <<disk, snaps>>

SendAppend(s, to, upto) ==
    /\ MaySend(node[s], to)
    /\ upto \in node[s].peers[to].next - 1..Last(node[s])
    /\ Take(s, Sent(node[s], to, upto))
    /\ UNCHANGED <<disk, snaps>>

FinishTurn(s) ==
    /\ Take(s, EndTurn(node[s]))
    /\ UNCHANGED <<disk, snaps>>

\* A snapshot of what is committed becomes durable; then the log may forget what it covers.
TakeSnapshot(s, base) ==
    LET n == node[s]
        config == ConfigAt(n, base)
    IN  /\ base \in Max(n.base, 1)..n.commit
        /\ disk' = [disk EXCEPT ![s] = Snapped(@, base, TermAt(n, base), config)]
        /\ snaps' = snaps \cup {Snapshot(base, TermAt(n, base), config)}
        /\ UNCHANGED <<node, net>>

Compact(s, base) ==
    /\ base <= Min(disk[s].snap, node[s].commit)
    /\ Step(s, {Compacted(node[s], base)})
    /\ UNCHANGED <<disk, snaps>>

\* A leader sends a snapshot, a piece at a time.
SendSnapshot(s, to, snapshot) ==
    /\ node[s].role = "leader" /\ to \in DOMAIN node[s].peers
    /\ snapshot \in snaps /\ snapshot.base <= disk[s].snap
    /\ Take(s, Send(node[s], to, SnapshotMsg(node[s].term, snapshot.base, snapshot.baseTerm)))
    /\ UNCHANGED <<disk, snaps>>

\* All pieces of a snapshot that another has made are durable here; then it is loaded.
ReceiveSnapshot(s, snapshot) ==
    /\ snapshot \in snaps
    /\ disk' = [disk EXCEPT ![s] = Snapped(@, snapshot.base, snapshot.baseTerm, snapshot.config)]
    /\ UNCHANGED <<node, net, snaps>>

Install(s, snapshot) ==
    /\ snapshot \in snaps /\ snapshot.base <= disk[s].snap
    /\ Step(s, {Installed(node[s], snapshot.base, snapshot.baseTerm, snapshot.config)})
    /\ UNCHANGED <<disk, snaps>>

\* The process ends and starts again; of its writes under way the first `kept' are on the disk. Of
\* the log it cannot read what is `lost': entries that have rotted since, and those of before, unless
\* they were only misread. Of some it knows that they hold no configuration: all others are `hiding'.
Restart(s, kept, life, lost, hiding) ==
    /\ kept \in 0..Len(node[s].queue)
    /\ life > node[s].life
    /\ LET d == Mended(WrittenAll(disk[s], node[s].queue, kept))
       IN  /\ lost \subseteq d.base + 1..d.base + Len(d.log)
           /\ hiding \subseteq lost
           /\ \A i \in DOMAIN d.configs : d.configs[i].at \in lost => d.configs[i].at \in hiding
           /\ disk' = [disk EXCEPT ![s] = [d EXCEPT !.lost = lost]]
           /\ \E base \in Bases(d), commit \in Hints(d) :
                Take(s, Recovered(s, life, d, base, commit, lost, hiding))
    /\ UNCHANGED snaps

\* The newest snapshot is found to be damaged: an older one and the log make up for it.
LoseSnapshot(s, older) ==
    LET d == disk[s]
    IN  /\ older \in snaps \cup {Snapshot(0, 0, Founding), Snapshot(0, 0, NoConfig)}
        /\ older.base \in d.base..d.snap - 1
        /\ ~IsVoid(d)
        /\ disk' = [disk EXCEPT ![s] = [d EXCEPT !.snap = older.base, !.snapTerm = older.baseTerm,
                        !.snapConfig = older.config]]
        /\ UNCHANGED <<node, net, snaps>>

\* A disk is lost, and an empty one of another name comes in its place.
LoseDisk(s, name, config, life) ==
    /\ life > node[s].life
    /\ config \in {Founding, NoConfig}
    /\ LET d == BlankDisk(name, config)
       IN  /\ disk' = [disk EXCEPT ![s] = d]
           /\ Take(s, Recovered(s, life, d, 0, 0, {}, {}))
    /\ UNCHANGED snaps

(******************************* properties ********************************)

\* Figure 3, as far as it can be seen in one state. At most one leader of a term at a time.
ElectionSafety ==
    \A a, b \in Server :
        /\ node[a].role = "leader" /\ node[b].role = "leader"
        /\ node[a].term = node[b].term
        => a = b

\* Two logs with an entry of the same term at an index are the same up to it.
LogMatching ==
    \A a, b \in Server :
        LET low == Max(node[a].base, node[b].base)
            high == Min(Last(node[a]), Last(node[b]))
        IN  \A i \in low + 1..high : TermAt(node[a], i) = TermAt(node[b], i) =>
                \A j \in low + 1..i : TermAt(node[a], j) = TermAt(node[b], j)

\* What two nodes have committed is the same.
StateMachineSafety ==
    \A a, b \in Server :
        LET low == Max(node[a].base, node[b].base)
        IN  \A i \in low + 1..Min(node[a].commit, node[b].commit) :
                TermAt(node[a], i) = TermAt(node[b], i)

\* A leader's log holds whatever others have committed, as far as they know of no later term.
LeaderCompleteness ==
    \A a, b \in Server : node[a].role = "leader" /\ node[b].term <= node[a].term =>
        \A i \in Max(node[a].base, node[b].base) + 1..node[b].commit :
            TermAt(node[a], i) = TermAt(node[b], i)

\* Who leads can read its log, and nobody commits what it cannot read. What comes back counts once it is
\* durable; what is replaced is no part of the log from the moment when that begins.
Unreadable(s) ==
    LET isKept(i) == \A k \in DOMAIN node[s].queue :
                        node[s].queue[k].kind = "replace" => i <= node[s].queue[k].prev
    IN  {i \in disk[s].lost : i > disk[s].snap /\ isKept(i)}
WholeLeaders == \A s \in Server : node[s].role = "leader" => Unreadable(s) = {}
CommittedIsRead == \A s \in Server : \A i \in Unreadable(s) : i > node[s].commit

\* What a leader has committed in its term, the disks of a quorum hold.
DurableQuorum ==
    \A s \in Server : node[s].role = "leader" /\ node[s].commit >= node[s].since =>
        IsQuorum(Current(node[s]), {p \in Server :
            \/ disk[p].snap >= node[s].commit
            \/ /\ disk[p].base + Len(disk[p].log) >= node[s].commit
               /\ disk[p].base < node[s].commit
               /\ disk[p].log[node[s].commit - disk[p].base] = node[s].term})

\* What a leader counts as held by a peer is on the peer's disk.
TrueMatch ==
    \A s \in Server : node[s].role = "leader" => \A p \in DOMAIN node[s].peers :
        LET i == node[s].peers[p].matched
        IN  node[p].term = node[s].term /\ i > disk[p].base /\ i > disk[p].snap =>
                /\ i <= disk[p].base + Len(disk[p].log)
                /\ TermAt(node[s], i) \in {-1, disk[p].log[i - disk[p].base]}

\* What is promised in a message is durable: term, and own vote or one given (rules R1 and R4).
SafeToSend ==
    \A o \in net :
        \/ IsTermless(o.m)
        \/ /\ disk[o.from].term >= o.m.term
           /\ o.m.type = "vote" /\ disk[o.from].term = o.m.term => disk[o.from].vote = o.from
           /\ (o.m.type = "vote-reply" /\ disk[o.from].term = o.m.term) =>
                (o.m.granted => disk[o.from].vote = o.to)

=============================================================================
