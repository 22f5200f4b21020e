------------------------------ MODULE RaftNode ------------------------------
(***************************************************************************)
(* One node of Headwater's algorithm: what its rooms do with it.           *)
(*                                                                         *)
(* A node is a record.  Each operator takes one and gives one; where time  *)
(* or a disk's pace decides, it gives the set of all that may come of it,  *)
(* and does not say when.  What a step wants sent or told gathers in       *)
(* `out' and `told' until the step ends, and in `did' the names of what    *)
(* was done on the way, for whoever counts them: nothing rests on it.      *)
(*                                                                         *)
(* Each group of operators bears the name of the room in crates/raft that  *)
(* does the same.  Two rooms are missing.  `rest' is for drivers of many   *)
(* groups.  Of `rollback' there is only that a node may repeat what it has *)
(* heard: that an operator sets a disk back is outside of the algorithm.   *)
(*                                                                         *)
(* Source: crates/raft; Ongaro and Ousterhout, Figure 2; dissertation.     *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    Nil,            \* no node: no vote, no leader, nobody to hand over to
    LeasesOn(_),    \* whether leases are switched on, on a node
    InflightMax,    \* appends on their way to one peer, at most
    RoundsMax       \* rounds of heartbeats on their way, at most

Max(a, b) == IF a > b THEN a ELSE b
Min(a, b) == IF a < b THEN a ELSE b

Did(n, what) == [n EXCEPT !.did = @ \cup {what}]

(******************************** log **************************************)
\* The log holds terms; configurations lie beside it, by place, as `runs' and `membership' have it.

Last(n) == n.base + Len(n.log)

\* The term of the entry at index i; -1 if it is not here.
TermAt(n, i) ==
    IF i = n.base THEN n.baseTerm
    ELSE IF i < n.base \/ i > Last(n) THEN -1
    ELSE n.log[i - n.base]

LastTerm(n) == TermAt(n, Last(n))
Has(n, i, term) == TermAt(n, i) = term

\* The entries first..last, and the configurations among them.
Terms(n, first, last) == SubSeq(n.log, first - n.base, last - n.base)
Among(configs, first, last) ==
    SelectSeq(configs, LAMBDA c : c.at >= first /\ c.at <= last)

\* The highest entry at or before i whose term is no higher than `term'; at worst the base.
RECURSIVE Ground(_, _, _)
Ground(n, i, term) ==
    IF i <= n.base \/ TermAt(n, i) <= term THEN i ELSE Ground(n, i - 1, term)
CommonGround(n, i, term) == Ground(n, Max(Min(i, Last(n)), n.base), term)

\* The first index at which entries after `prev' differ from the log, or the log ends; 0 if none.
RECURSIVE Differs(_, _, _, _)
Differs(n, prev, terms, k) ==
    IF k > Len(terms) THEN 0
    ELSE IF TermAt(n, prev + k) # terms[k] THEN prev + k
    ELSE Differs(n, prev, terms, k + 1)
FirstDifference(n, prev, terms) == Differs(n, prev, terms, 1)

(**************************** configuration ********************************)

\* `disks' maps members to the disks that they have been met with.
Config(voters, outgoing, learners, joining, disks) ==
    [voters |-> voters, outgoing |-> outgoing, learners |-> learners, joining |-> joining,
     disks |-> disks]
NoConfig == Config({}, {}, {}, {}, <<>>)

IsVoter(config, s) == s \in config.voters \/ s \in config.outgoing
Members(config) == config.voters \cup config.outgoing \cup config.learners \cup config.joining
IsJoint(config) == config.outgoing # {}
DiskOf(config, s) == IF s \in DOMAIN config.disks THEN config.disks[s] ELSE Nil

Restrict(f, to) == [x \in DOMAIN f \cap to |-> f[x]]
Merge(f, g) == [x \in DOMAIN f \cup DOMAIN g |-> IF x \in DOMAIN f THEN f[x] ELSE g[x]]

\* The first step towards `target': both majorities rule if voters change.
JointWith(current, target) ==
    IF current.voters = target.voters THEN target
    ELSE [target EXCEPT !.outgoing = current.voters, !.disks =
            Restrict(Merge(target.disks, current.disks), Members(target) \cup current.voters)]
WithoutOutgoing(config) ==
    LET left == [config EXCEPT !.outgoing = {}]
    IN  [left EXCEPT !.disks = Restrict(config.disks, Members(left))]
Promoting(config, ready) ==
    [config EXCEPT !.joining = @ \ ready, !.voters = @ \cup ready]

(******************************** quorum ***********************************)

Majority(of, who) == 2 * Cardinality(of \cap who) > Cardinality(of)
IsQuorum(config, who) ==
    Majority(config.voters, who) /\ (IsJoint(config) => Majority(config.outgoing, who))

\* Whether every majority of each side has one of these in it.
Blocks(config, who) ==
    /\ ~Majority(config.voters, config.voters \ who)
    /\ IsJoint(config) => ~Majority(config.outgoing, config.outgoing \ who)

\* The largest value that a quorum reaches.
QuorumReaches(config, Value(_)) ==
    LET values == {Value(s) : s \in config.voters \cup config.outgoing}
        reached == {v \in values :
            IsQuorum(config, {s \in config.voters \cup config.outgoing : Value(s) >= v})}
    IN  CHOOSE v \in reached : \A w \in reached : w <= v

(****************************** membership *********************************)

Current(n) == IF n.configs = <<>> THEN n.first ELSE n.configs[Len(n.configs)].config
Position(n) == IF n.configs = <<>> THEN 0 ELSE n.configs[Len(n.configs)].at
ConfigAt(n, i) ==
    LET older == SelectSeq(n.configs, LAMBDA c : c.at <= i)
    IN  IF older = <<>> THEN n.first ELSE older[Len(older)].config

Met(n, s) == IF s \in DOMAIN n.met THEN n.met[s] ELSE Nil
IsAdmitted(n) == n.disk # Nil /\ DiskOf(Current(n), n.me) = n.disk
NamesLostDisk(n) == n.disk # Nil /\ DiskOf(Current(n), n.me) # Nil /\ ~IsAdmitted(n)
\* Whether s is connected with another disk than the member of that name has (rule R13).
IsOtherDisk(n, config, s) ==
    LET member == DiskOf(config, s)
        here == Met(n, s)
    IN  member # Nil /\ here # Nil /\ member # here
IsImpostor(n, s) == IsOtherDisk(n, Current(n), s)
\* Whether the configuration in force shows s that it is of its cluster.
Knows(n, s) ==
    /\ DiskOf(Current(n), s) # Nil \/ ~IsVoter(Current(n), s)
    /\ ~IsImpostor(n, s)

\* The leader's view of a follower of whom nothing is known.
Unknown(last) ==
    [matched |-> 0, next |-> last + 1, probing |-> TRUE, flight |-> <<>>, sent |-> 0, round |-> 0,
     ready |-> FALSE]

\* Another configuration is in force: the leader takes up who is new.
OnConfig(n) ==
    IF n.role # "leader" THEN n
    ELSE LET config == Current(n)
             fresh == Members(config) \ {n.me}
         IN  [n EXCEPT !.peers = [p \in DOMAIN n.peers \cup fresh |->
                LET peer == IF p \in DOMAIN n.peers THEN n.peers[p] ELSE Unknown(Last(n))
                IN  [peer EXCEPT !.ready = @ /\ p \in config.joining]]]

AppendEntries(n, terms, configs) ==
    LET longer == [n EXCEPT !.log = @ \o terms, !.configs = @ \o configs]
    IN  IF configs = <<>> THEN longer ELSE OnConfig(longer)

TruncateEntries(n, from) ==
    LET shorter == [Did(n, "TruncateEntries") EXCEPT !.log = SubSeq(@, 1, from - n.base - 1)]
    IN  IF Position(n) < from THEN shorter
        ELSE OnConfig([shorter EXCEPT !.configs = SelectSeq(@, LAMBDA c : c.at < from)])

\* Configurations among the entries first..last come back, of which none could be read.
RestoreConfigs(n, first, last, configs) ==
    LET comes == IF configs = <<>> THEN n ELSE Did(n, "RestoreConfigs")
    IN  [comes EXCEPT !.configs =
            Among(@, 0, first - 1) \o configs \o Among(@, last + 1, Last(n))]

\* Whether it may stand: as a voter, or as one whose removal is not committed.
MayStand(n) ==
    /\ ~NamesLostDisk(n)
    /\ \/ IsVoter(Current(n), n.me)
       \/ Position(n) > n.commit /\ IsVoter(ConfigAt(n, Position(n) - 1), n.me)

(******************************** repair ***********************************)
\* What of the log cannot be read lies in `gaps', in order. `write' is 0, or so many writes must be
\* durable before it can be read again; `hides' says whether a configuration may be there. Who said in
\* this candidacy that it lacks the first of these entries is in `lacking'.

IsWhole(n) == n.gaps = <<>>

\* The end of what can be read from the log's beginning on, and of what is safe besides.
Intact(n) == IF IsWhole(n) THEN Last(n) ELSE Head(n.gaps).first - 1
Durable(n) == Min(n.durable, Intact(n))

\* Gaps for which nothing has come yet, and as much of gaps as lies among first..last.
Open(gaps) == SelectSeq(gaps, LAMBDA g : g.write = 0)
Within(gaps, first, last) ==
    SelectSeq([i \in DOMAIN gaps |-> [gaps[i] EXCEPT !.first = Max(@, first), !.last = Min(@, last)]],
        LAMBDA g : g.first <= g.last)

\* The same with a write that will close what is open of first..last.
RECURSIVE Closing(_, _, _, _)
Closing(gaps, first, last, write) ==
    IF gaps = <<>> THEN <<>>
    ELSE LET gap == Head(gaps)
             parts == Within(<<gap>>, 0, first - 1)
                \o Within(<<[gap EXCEPT !.write = write]>>, first, last)
                \o Within(<<gap>>, last + 1, gap.last)
         IN  (IF gap.write # 0 THEN <<gap>> ELSE parts) \o Closing(Tail(gaps), first, last, write)

\* Only these entries may be missing from now on.
KeepGaps(n, first, last) ==
    IF IsWhole(n) THEN n ELSE [n EXCEPT !.gaps = Within(@, first, last), !.lacking = {}]

\* Whether a configuration later than the one in force may be among what cannot be read.
HidesConfig(n) == \E i \in DOMAIN n.gaps : n.gaps[i].hides /\ n.gaps[i].last > Position(n)

\* What a disk cannot give back, in gaps: one for entries in a row of which all may hold
\* configurations, or none.
RECURSIVE GapsOf(_, _)
GapsOf(lost, hiding) ==
    IF lost = {} THEN <<>>
    ELSE LET first == CHOOSE i \in lost : \A j \in lost : i <= j
             isLike(i) == i \in lost /\ (i \in hiding <=> first \in hiding)
             last == CHOOSE i \in lost : (\A j \in first..i : isLike(j)) /\ ~isLike(i + 1)
         IN  <<[first |-> first, last |-> last, write |-> 0, hides |-> first \in hiding]>>
                \o GapsOf(lost \ (first..last), hiding)

(******************************* durable ***********************************)
\* `queue' holds the writes under way. Each bears the end of the log that it vouches for; `hardIn'
\* says how many of them must be durable before the latest term and vote are.

HardIsSafe(n) == n.hardIn = 0

Send(n, to, m) == [n EXCEPT !.out = @ \cup {[to |-> to, m |-> m]}]
Tell(n, what) == [n EXCEPT !.told = @ \cup {what}]

Persist(n, kind, prev, terms, configs) ==
    [n EXCEPT !.queue = Append(@,
        [kind |-> kind, term |-> n.term, vote |-> n.vote, prev |-> prev, terms |-> terms,
         configs |-> configs, end |-> Last(n), hint |-> n.commit])]

PersistHard(n) ==
    LET m == Persist(Did(n, "PersistHard"), "same", 0, <<>>, <<>>)
    IN  [m EXCEPT !.hardIn = Len(m.queue)]

\* Entries from `from' on are being replaced: no write so far may vouch for them (rule R3).
StopVouching(n, from) ==
    [KeepGaps(n, 1, from - 1) EXCEPT !.durable = Min(@, from - 1),
        !.queue = [i \in DOMAIN @ |-> [@[i] EXCEPT !.end = Min(@, from - 1)]]]

PersistEntries(n, prev, terms, configs, replaces) ==
    IF replaces THEN Persist(StopVouching(n, prev + 1), "replace", prev, terms, configs)
    ELSE Persist(n, "append", prev, terms, configs)

\* A durable snapshot covers everything up to `base'.
Covered(n, base) ==
    [KeepGaps(n, base + 1, Last(n)) EXCEPT !.durable = Max(@, base),
        !.queue = [i \in DOMAIN @ |-> [@[i] EXCEPT !.end = Max(@, base)]]]

\* Sends at once if the term and vote that m stands on are safe, else when they are (rule R4). Of
\* answers to heartbeats the highest round says all.
SendWhenSafe(n, to, m) ==
    LET same == {w \in n.waiting : w.to = to /\ w.m.type = "beat-reply"}
        round(w) == Max(m.round, w.m.round)
        waits == Did(n, "SendWhenSafe, waiting")
    IN  IF HardIsSafe(n) THEN Send(n, to, m)
        ELSE IF m.type = "beat-reply" /\ same # {}
        THEN [waits EXCEPT !.waiting = (@ \ same) \cup
                {[to |-> to, m |-> [w.m EXCEPT !.round = round(w)]] : w \in same}]
        ELSE [waits EXCEPT !.waiting = @ \cup {[to |-> to, m |-> m]}]

(******************************** messages *********************************)

Vote(term, pre, transfer, last, lastTerm, admitted) ==
    [type |-> "vote", term |-> term, pre |-> pre, transfer |-> transfer, last |-> last,
     lastTerm |-> lastTerm, admitted |-> admitted]
VoteReply(term, pre, granted) ==
    [type |-> "vote-reply", term |-> term, pre |-> pre, granted |-> granted]
AppendMsg(term, prev, prevTerm, terms, configs, commit) ==
    [type |-> "append", term |-> term, prev |-> prev, prevTerm |-> prevTerm, terms |-> terms,
     configs |-> configs, commit |-> commit]
Acknowledgement(term, upto) ==
    [type |-> "append-reply", term |-> term, ok |-> TRUE, match |-> upto]
Conflict(term, prev, hint, hintTerm) ==
    [type |-> "append-reply", term |-> term, ok |-> FALSE, prev |-> prev, hint |-> hint,
     hintTerm |-> hintTerm]
Beat(term, commit, round, knows) ==
    [type |-> "beat", term |-> term, commit |-> commit, round |-> round, knows |-> knows]
BeatReply(term, round) == [type |-> "beat-reply", term |-> term, round |-> round]
CommitMsg(term, commit) == [type |-> "commit", term |-> term, commit |-> commit]
TimeoutNow(term) == [type |-> "timeout-now", term |-> term]
SnapshotMsg(term, base, baseTerm) ==
    [type |-> "snapshot", term |-> term, base |-> base, baseTerm |-> baseTerm]
RepairAsk(first, firstTerm, last) ==
    [type |-> "repair-ask", first |-> first, firstTerm |-> firstTerm, last |-> last]
RepairTell(term, holding, first, firstTerm) ==
    [type |-> "repair-tell", term |-> term, holding |-> holding, first |-> first,
     firstTerm |-> firstTerm]
RepairTellHas(term, prev, prevTerm, terms, configs) ==
    [type |-> "repair-tell", term |-> term, holding |-> "has", prev |-> prev, prevTerm |-> prevTerm,
     terms |-> terms, configs |-> configs]
ReadAsk(id, life, lease) == [type |-> "read-ask", id |-> id, life |-> life, lease |-> lease]
ReadTell(id, life, at) == [type |-> "read-tell", id |-> id, life |-> life, at |-> at]
Disowned(disk) == [type |-> "disowned", disk |-> disk]

(********************************** role ***********************************)

NoTally == [yes |-> {}, no |-> {}, announced |-> FALSE, transfer |-> FALSE]

\* What a leader keeps ends with its leadership.
NotLeading(n) ==
    [n EXCEPT !.peers = <<>>, !.since = 0, !.latest = 0, !.rounds = <<>>, !.gathered = {},
              !.transfer = Nil, !.urged = FALSE, !.void = FALSE]

(****************************** replication ******************************)

ForgetVerified(n) == [n EXCEPT !.verified = 0, !.acked = 0]

(********************************** read ***********************************)
\* At the leader a read is [who, id, life]; `who' is the leader itself for its own. -1 is no index.

Answer(n, asker, at) ==
    LET answers == IF at = -1 THEN n ELSE Did(n, "Answer")
    IN  IF asker.who = n.me THEN Tell(answers, [type |-> "read", id |-> asker.id, at |-> at])
        ELSE Send(answers, asker.who, ReadTell(asker.id, asker.life, at))

RECURSIVE AnswerAll(_, _, _)
AnswerAll(n, askers, at) ==
    IF askers = {} THEN n
    ELSE LET one == CHOOSE a \in askers : TRUE
         IN  AnswerAll(Answer(n, one, at), askers \ {one}, at)

Waiting(n) == n.gathered \cup UNION {n.rounds[i].askers : i \in DOMAIN n.rounds}

\* Reads that wait get their one outcome.
LoseReads(n) ==
    LET own == {[who |-> n.me, id |-> a.id, life |-> n.life] : a \in n.asks}
        all == own \cup Waiting(n)
        lost == IF all = {} THEN n ELSE AnswerAll(Did(n, "LoseReads"), all, -1)
    IN  [lost EXCEPT !.asks = {}, !.gathered = {}, !.rounds = <<>>]

\* Numbers a new round, which takes the reads gathered along.
BeginRound(n) ==
    IF n.commit < n.since \/ Len(n.rounds) >= RoundsMax THEN n
    ELSE [Did(n, "BeginRound") EXCEPT !.latest = @ + 1, !.gathered = {}, !.rounds = Append(@,
            [number |-> n.latest + 1, commit |-> n.commit, askers |-> n.gathered])]

RECURSIVE Served(_, _)
Served(n, confirmed) ==
    IF n.rounds = <<>> \/ Head(n.rounds).number > confirmed THEN n
    ELSE LET round == Head(n.rounds)
             served == AnswerAll(n, round.askers, round.commit)
         IN  Served([served EXCEPT !.rounds = Tail(@), !.mark = Max(@, round.commit)], confirmed)

\* Answers the reads whose round a quorum has confirmed.
ConfirmReads(n) ==
    IF n.role # "leader" \/ n.rounds = <<>> THEN n
    ELSE LET reached(p) ==
                IF p = n.me THEN n.latest
                ELSE IF p \in DOMAIN n.peers THEN n.peers[p].round ELSE 0
         IN  Served(n, QuorumReaches(Current(n), reached))

(********************************** lease **********************************)

\* Whether a leader may have a lease. That clocks keep their bound, and a quorum its promises, is
\* not known here.
MayHaveLease(n) == LeasesOn(n) /\ ~n.void /\ n.commit >= n.since

(****************************** read, again ******************************)

\* A lease answers at once; else the read waits for the next round.
TakeRead(n, asker, lease) ==
    {[n EXCEPT !.gathered = IF asker \in Waiting(n) THEN @ ELSE @ \cup {asker}]}
        \cup IF lease /\ MayHaveLease(n)
             THEN {Answer(Did(n, "Read, by lease"), asker, n.commit)} ELSE {}

(******************************** transfer *********************************)

EndTransfer(n, ok) ==
    IF n.transfer = Nil THEN n
    ELSE [Tell(Did(n, "EndTransfer"), [type |-> "transferred", to |-> n.transfer, ok |-> ok])
            EXCEPT !.transfer = Nil, !.urged = FALSE]

\* Tells the target to stand, once it holds the whole log durably.
UrgeTarget(n) ==
    IF n.role # "leader" \/ n.transfer = Nil THEN n
    ELSE IF n.transfer \in DOMAIN n.peers /\ n.peers[n.transfer].matched = Last(n)
    THEN [Send(Did(n, "UrgeTarget"), n.transfer, TimeoutNow(n.term))
            EXCEPT !.urged = TRUE, !.void = TRUE]
    ELSE n

\* To whom leadership may be handed over.
MayTakeOver(n) == Current(n).voters \cap DOMAIN n.peers

(******************************** election *********************************)

\* Becomes or stays a follower; a higher term is made durable, its vote is free, and what waited to
\* be said in the old one is not said (rule R3).
Follow(n, term, leader) ==
    LET ended == NotLeading(EndTransfer(LoseReads(n), term > n.term))
        newer == PersistHard([ForgetVerified(ended)
                    EXCEPT !.term = term, !.vote = Nil, !.waiting = {}])
        now == IF term > n.term THEN newer ELSE ended
    IN  [now EXCEPT !.role = "follower", !.leader = leader, !.tally = NoTally]

HeardLeader(n, leader) ==
    IF n.leader = leader /\ n.role = "follower" THEN n ELSE Follow(n, n.term, leader)

(************************** replication, again ***************************)

\* Tells the leader how far the log agrees with its own and is durable: a state, not an event.
Acknowledge(n) ==
    LET safe == Min(n.verified, Durable(n))
    IN  IF n.leader = Nil \/ n.role # "follower" \/ ~HardIsSafe(n) \/ safe <= n.acked THEN n
        ELSE Send([Did(n, "Acknowledge") EXCEPT !.acked = safe], n.leader,
                Acknowledgement(n.term, safe))

VerifyCommitted(n) == Acknowledge([n EXCEPT !.verified = Max(@, n.commit), !.acked = -1])

\* Leader: appends an entry of its own making; `configs' holds its configuration, if it is one.
AppendOwn(n, configs) ==
    PersistEntries(AppendEntries(n, <<n.term>>, configs), Last(n), <<n.term>>, configs, FALSE)

Restarted(peer) ==
    [peer EXCEPT !.next = IF peer.probing THEN @ ELSE peer.matched + 1, !.sent = 0,
                 !.probing = TRUE, !.flight = <<>>]

\* Heartbeats of the latest round to everyone.
SendBeats(n) ==
    IF n.role # "leader" THEN n
    ELSE LET to == {p \in DOMAIN n.peers : ~IsImpostor(n, p)}
             told == [p \in DOMAIN n.peers |->
                IF p \in to THEN [n.peers[p] EXCEPT !.sent = Max(@, n.commit)] ELSE n.peers[p]]
             beats == {[to |-> p, m |-> Beat(n.term, n.commit, n.latest, Knows(n, p))] : p \in to}
         IN  UrgeTarget([n EXCEPT !.peers = told, !.out = @ \cup beats])

\* Whose appends may have gone unanswered for too long.
Unanswered(n) == SUBSET {p \in DOMAIN n.peers : n.peers[p].flight # <<>> /\ ~IsImpostor(n, p)}

\* A heartbeat; appends to those in `silent' are tried again.
BeatAll(n, silent) ==
    IF n.role # "leader" THEN n
    ELSE LET tries == IF silent = {} THEN n ELSE Did(n, "BeatAll, trying again")
             again == [tries EXCEPT !.peers = [p \in DOMAIN @ |->
                            IF p \in silent THEN Restarted(@[p]) ELSE @[p]]]
             begun == IF LeasesOn(n) \/ n.gathered # {} THEN BeginRound(again) ELSE again
         IN  ConfirmReads(SendBeats(begun))

\* The leader's side of an answer.
Acknowledged(peer, upto) ==
    LET matched == Max(peer.matched, upto)
        agreed == peer.next - 1 <= matched
        underWay == peer.flight # <<>> /\ agreed /\ Head(peer.flight) > matched
    IN  IF peer.probing
        THEN [peer EXCEPT !.matched = matched, !.probing = FALSE,
                !.next = (IF underWay THEN Head(peer.flight) ELSE matched) + 1,
                !.flight = IF underWay THEN @ ELSE <<>>]
        ELSE [peer EXCEPT !.matched = matched, !.next = Max(@, matched + 1),
                !.flight = SelectSeq(@, LAMBDA end : end > upto)]

\* The follower cannot read what it holds from `first' on.
LostFrom(peer, first) ==
    IF first >= peer.next THEN peer
    ELSE [Restarted([peer EXCEPT !.matched = Min(@, first - 1)]) EXCEPT !.next = first]

Conflicted(peer, prev, retry) ==
    IF IF peer.probing THEN prev + 1 = peer.next ELSE prev > peer.matched
    THEN [peer EXCEPT !.next = Max(retry, peer.matched + 1), !.probing = TRUE, !.flight = <<>>]
    ELSE peer

\* Whether the leader may send `to' an append now.
MaySend(n, to) ==
    /\ n.role = "leader" /\ to \in DOMAIN n.peers /\ ~IsImpostor(n, to)
    /\ LET peer == n.peers[to]
       IN  /\ peer.next > n.base
           /\ IF peer.probing THEN peer.flight = <<>>
              ELSE Len(peer.flight) < InflightMax /\ peer.next <= Last(n)

\* An append of the entries up to `upto' leaves.
Sent(n, to, upto) ==
    LET first == n.peers[to].next
        m == AppendMsg(n.term, first - 1, TermAt(n, first - 1), Terms(n, first, upto),
                Among(n.configs, first, upto), n.commit)
        probes == IF n.peers[to].probing THEN Did(n, "SendAppend, probing") ELSE n
        sent == [probes EXCEPT !.peers[to].sent = Max(@, n.commit), !.peers[to].flight =
                    IF n.peers[to].probing THEN <<upto>> ELSE Append(@, upto)]
    IN  Send(IF n.peers[to].probing THEN sent ELSE [sent EXCEPT !.peers[to].next = upto + 1], to, m)

\* Tells followers of a commit index that no append has carried to them.
TellCommit(n) ==
    IF n.role # "leader" THEN n
    ELSE LET to == {p \in DOMAIN n.peers : ~n.peers[p].probing /\ n.peers[p].sent < n.commit}
             tells == IF to = {} THEN n ELSE Did(n, "TellCommit")
         IN  [tells EXCEPT !.peers = [p \in DOMAIN @ |->
                    IF p \in to THEN [@[p] EXCEPT !.sent = n.commit] ELSE @[p]],
                !.out = @ \cup {[to |-> p, m |-> CommitMsg(n.term, n.commit)] : p \in to}]

(*************************** membership, again *****************************)

\* Whoever is added starts from nothing, though it may have left only just now.
AppendConfig(n, config) ==
    LET stays(p) == p \in Members(Current(n)) \/ p \notin Members(config)
        fresh == [n EXCEPT !.peers = [p \in {q \in DOMAIN @ : stays(q)} |-> @[p]]]
    IN  AppendOwn(fresh, <<[at |-> Last(n) + 1, config |-> config]>>)

ChangeTo(n, target) ==
    LET first == JointWith(Current(n), target)
    IN  AppendConfig(IF IsJoint(first) THEN Did(n, "JointWith") ELSE n, first)

\* The disk of a member of which none is known yet, once it holds the entry that made it one.
NewcomerDisk(n, s) ==
    IF s = n.me THEN n.disk
    ELSE IF s \in DOMAIN n.peers /\ n.peers[s].matched >= Max(Position(n), n.since)
    THEN Met(n, s) ELSE Nil

WithDisks(n, config) ==
    LET known(s) == IF DiskOf(config, s) # Nil THEN DiskOf(config, s) ELSE NewcomerDisk(n, s)
    IN  [config EXCEPT !.disks = [s \in {m \in Members(config) : known(m) # Nil} |-> known(s)]]

\* What the configuration in force may become by itself: those who have caught up may vote, if most
\* of the new voters answer.
Improved(n) ==
    LET current == Current(n)
        ready == {p \in DOMAIN n.peers : n.peers[p].ready}
    IN  IF ready = {} THEN {WithDisks(n, current)}
        ELSE {WithDisks(n, current), WithDisks(n, Promoting(current, ready))}

IsSettled(n) == n.role = "leader" /\ n.commit >= n.since /\ Position(n) <= n.commit

\* A leader that is no voter any more tells of that, may ask one of the others to stand, and goes.
LeaveOffice(n) ==
    LET told == [Did(n, "LeaveOffice") EXCEPT !.out = @ \cup
                    {[to |-> p, m |-> CommitMsg(n.term, n.commit)] : p \in DOMAIN n.peers}]
        urging == {Send(told, p, TimeoutNow(n.term)) : p \in MayTakeOver(n)}
    IN  {Follow(m, n.term, Nil) : m \in {told} \cup urging}

\* The next step that the configuration in force allows.
AdvanceMembership(n) ==
    LET config == Current(n)
        promotes(c) == IF c.voters = config.voters THEN n ELSE Did(n, "Promoting")
        names(c) == IF c.disks = config.disks THEN promotes(c) ELSE Did(promotes(c), "WithDisks")
    IN  IF ~IsSettled(n) THEN {n}
        ELSE IF IsJoint(config)
        THEN {AppendConfig(Did(n, "WithoutOutgoing"), WithDisks(n, WithoutOutgoing(config)))}
        ELSE IF ~IsVoter(config, n.me) THEN LeaveOffice(n)
        ELSE {IF c = config THEN n ELSE ChangeTo(names(c), c) : c \in Improved(n)}

\* Former members who may be let go because they are silent; those who know it are.
Silent(n) == SUBSET (DOMAIN n.peers \ Members(Current(n)))
Dismiss(n, silent) ==
    LET at == Position(n)
        told(p) == n.peers[p].matched >= at /\ n.peers[p].sent >= at
        stays(p) == p \in Members(Current(n)) \/ ~(told(p) \/ p \in silent)
        dismisses == IF \A p \in DOMAIN n.peers : stays(p) THEN n ELSE Did(n, "Dismiss")
    IN  IF at > n.commit \/ IsJoint(Current(n)) THEN n
        ELSE [dismisses EXCEPT !.peers = [p \in {q \in DOMAIN @ : stays(q)} |-> @[p]]]

\* The disk of `peer' has given way to another: what that one said and heard is void.
ForgetDisk(n, peer) ==
    [n EXCEPT !.waiting = {w \in @ : w.to # peer},
              !.tally = [@ EXCEPT !.yes = @ \ {peer}, !.no = @ \ {peer}], !.lacking = @ \ {peer},
              !.peers = [p \in DOMAIN @ |-> IF p = peer THEN Unknown(Last(n)) ELSE @[p]]]

\* The latest configuration that may count and names `s'; none if none does.
Naming(n, s) ==
    LET named == {i \in DOMAIN n.configs :
                    n.configs[i].at > n.commit /\ s \in Members(n.configs[i].config)}
    IN  IF named # {} THEN n.configs[CHOOSE i \in named : \A k \in named : k <= i].config
        ELSE IF s \in Members(ConfigAt(n, n.commit)) THEN ConfigAt(n, n.commit) ELSE NoConfig

\* Whether this node is a member by its disk, for certain: whoever leads after that knows it.
IsEstablished(n) == n.disk # Nil /\ DiskOf(ConfigAt(n, n.commit), n.me) = n.disk

\* Whether nobody here knows the sender, or by another disk.
IsStrange(n, from) ==
    LET config == Naming(n, from)
    IN  IF config = NoConfig THEN IsEstablished(n) ELSE IsOtherDisk(n, config, from)

\* Whether a message is heard, for all that is known of its sender (rule R13).
Hears(n, from, m) ==
    LET known == TermAt(n, Position(n))
        isNew == /\ m.term > IF known = -1 THEN n.baseTerm ELSE known
                 /\ n.role # "leader"
        isShown == CASE m.type = "vote" -> m.admitted
                     [] m.type = "beat" -> m.knows \/ ~IsEstablished(n)
                     [] OTHER -> (n.leader = from /\ m.term = n.term) \/ ~IsEstablished(n)
    IN  IF ~IsStrange(n, from) \/ m.type \in {"heard", "disowned"} THEN TRUE
        ELSE IF m.type \in {"vote", "append", "beat", "commit", "timeout-now", "snapshot"}
        THEN isShown /\ isNew
        ELSE ~IsImpostor(n, from)

(********************************* commit **********************************)

\* Leader: commits what a quorum holds durably, once it is of its own term (Figure 8).
AdvanceCommit(n) ==
    IF n.role # "leader" \/ n.commit = Last(n) THEN {n}
    ELSE LET has(p) == IF p = n.me THEN Durable(n)
                       ELSE IF p \in DOMAIN n.peers THEN n.peers[p].matched ELSE 0
             held == QuorumReaches(Current(n), has)
         IN  IF held > n.commit /\ TermAt(n, held) = n.term
             THEN AdvanceMembership([n EXCEPT !.commit = held])
             ELSE {n}

\* Follower: takes over the leader's commit index, as far as the log is known to agree and can be read.
LearnCommit(n, commit) == [n EXCEPT !.commit = Max(@, Min(Min(commit, n.verified), Intact(n)))]

(************************** replication, again ***************************)

\* A quorum has voted: it leads, and its first entry is empty.
Lead(n) ==
    LET peers == [p \in Members(Current(n)) \ {n.me} |-> Unknown(Last(n))]
        leads == [NotLeading(Did(n, "Lead")) EXCEPT !.role = "leader", !.leader = n.me, !.tally = NoTally,
                    !.peers = peers, !.since = Last(n) + 1]
    IN  BeatAll(AppendOwn(leads, <<>>), {})

(***************************** election, again *****************************)

\* Asks these voters, of those that have not answered.
AskForVotes(n, whom) ==
    LET pre == n.role = "pre-candidate"
        asked == {p \in (Members(Current(n)) \cap whom) \ {n.me} :
                    IsVoter(Current(n), p) /\ p \notin n.tally.yes \cup n.tally.no}
        m(p) == Vote(IF pre THEN n.term + 1 ELSE n.term, pre, n.tally.transfer, Last(n),
                LastTerm(n), IsAdmitted(n) /\ Knows(n, p))
    IN  IF ~pre /\ (n.role # "candidate" \/ ~n.tally.announced) THEN n
        ELSE [n EXCEPT !.out = @ \cup {[to |-> p, m |-> m(p)] : p \in asked}]

\* Stands in the next term. Nothing leaves before term and own vote are durable.
Campaign(n, transfer) ==
    PersistHard([ForgetVerified(Did(n, "Campaign"))
        EXCEPT !.term = @ + 1, !.vote = n.me, !.role = "candidate", !.tally = [NoTally EXCEPT !.transfer = transfer], !.leader = Nil, !.waiting = {}, !.lacking = {}])

\* Whether a node may have a disk so slow that it does not stand, and whether a deadline may not have
\* come yet, or a leader find that nobody has answered for too long.
MayBeSlow(n) == BOOLEAN
MayBeEarly(n) == BOOLEAN
MayBeAlone(n) == BOOLEAN

\* A pre-candidate with a slow disk puts its candidacy off; who is elected leads once its log is whole.
CountVotes(n) ==
    IF n.role \notin {"pre-candidate", "candidate"} \/ ~IsQuorum(Current(n), n.tally.yes) THEN {n}
    ELSE IF n.role = "pre-candidate" THEN {IF slow THEN n ELSE Campaign(n, FALSE) : slow \in MayBeSlow(n)}
    ELSE {IF IsWhole(n) THEN Lead(n) ELSE Did(n, "CountVotes, with gaps")}

\* Asks whether an election could be won; not with a slow disk, nor where it may not know who votes.
PreCampaign(n) ==
    LET lost == LoseReads(n)
        asks == [Did(lost, "PreCampaign") EXCEPT !.role = "pre-candidate", !.leader = Nil,
                    !.tally = [NoTally EXCEPT !.yes = {n.me}, !.announced = TRUE]]
    IN  IF ~MayStand(n) THEN {lost}
        ELSE IF HidesConfig(n) THEN {Did(lost, "PreCampaign, without a configuration")}
        ELSE UNION {IF slow THEN {lost} ELSE CountVotes(AskForVotes(asks, Members(Current(n)))) :
                        slow \in MayBeSlow(n)}

\* A candidate's own vote has become durable: it counts, and the others are asked (rule R1).
AnnounceCandidacy(n) ==
    IF n.role # "candidate" \/ n.tally.announced \/ ~HardIsSafe(n) THEN {n}
    ELSE LET counted == [n EXCEPT !.tally.announced = TRUE, !.tally.yes = @ \cup {n.me}]
         IN  CountVotes(AskForVotes(counted, Members(Current(n))))

\* Whether a voter may think that an election would disturb: a leader was heard lately.
MayBeContent(n) == IF n.role = "leader" THEN {TRUE} ELSE BOOLEAN
\* Whether it may have promised to elect nobody.
MayBePromised(n) == IF LeasesOn(n) THEN BOOLEAN ELSE {FALSE}

OnVote(n, from, m) ==
    LET upToDate == m.lastTerm > LastTerm(n) \/ (m.lastTerm = LastTerm(n) /\ m.last >= Last(n))
        said(granted) == IF granted THEN "VoteReply, granted" ELSE "VoteReply, refused"
        preReply(content) ==
            LET granted == m.term > n.term /\ upToDate /\ ~content
            IN  SendWhenSafe(Did(n, said(granted)), from,
                    VoteReply(IF granted THEN m.term ELSE n.term, TRUE, granted))
        reply(promised) ==
            LET granted == /\ m.term = n.term /\ n.vote \in {Nil, from} /\ upToDate
                           /\ n.leader = Nil /\ (m.transfer \/ ~promised)
                voted == IF granted /\ n.vote = Nil THEN PersistHard([n EXCEPT !.vote = from]) ELSE n
            IN  SendWhenSafe(Did(voted, said(granted)), from, VoteReply(n.term, FALSE, granted))
    IN  IF m.pre THEN {preReply(content) : content \in MayBeContent(n)}
        ELSE {reply(promised) : promised \in MayBePromised(n)}

OnVoteReply(n, from, m) ==
    LET counts == \/ n.role = "pre-candidate" /\ m.pre /\ (~m.granted \/ m.term = n.term + 1)
                  \/ n.role = "candidate" /\ ~m.pre /\ m.term = n.term
        counted == IF m.granted
            THEN [n EXCEPT !.tally.yes = @ \cup {from}, !.tally.no = @ \ {from}]
            ELSE [n EXCEPT !.tally.no = @ \cup {from}, !.tally.yes = @ \ {from}]
    IN  IF counts THEN CountVotes(counted) ELSE {n}

\* The leader asks this node to lead in its place.
OnTimeoutNow(n, from) ==
    IF n.role = "follower" /\ n.leader = from /\ MayStand(n) /\ IsWhole(n)
    THEN {IF slow THEN n ELSE Campaign(LoseReads(n), TRUE) : slow \in MayBeSlow(n)} ELSE {n}

\* A connection came up or went down.
OnLink(n, peer, up) ==
    LET lost == IF ~up /\ n.leader = peer THEN LoseReads(n) ELSE n
    IN  IF n.role = "leader"
        THEN [lost EXCEPT !.peers =
                [p \in DOMAIN @ |-> IF p = peer THEN Restarted(@[p]) ELSE @[p]]]
        ELSE IF up THEN AskForVotes(lost, {peer}) ELSE lost

(*************************** membership, again ***************************)

OnMet(n, peer, disk) ==
    LET met == [n EXCEPT !.met = [p \in DOMAIN @ \cup {peer} |-> IF p = peer THEN disk ELSE @[p]]]
        known == IF Met(n, peer) \notin {Nil, disk} THEN Did(ForgetDisk(met, peer), "ForgetDisk")
                 ELSE met
        refused == Send(Tell(Did(known, "Meet, an impostor"), [type |-> "refused", from |-> peer]),
                    peer, Disowned(disk))
    IN  AdvanceMembership(IF IsImpostor(known, peer) THEN refused ELSE known)

OnDisowned(n, from, m) ==
    IF n.disk = m.disk /\ ~IsAdmitted(n) THEN Tell(n, [type |-> "disowned", by |-> from]) ELSE n

\* A joining learner that acknowledges may have caught up; one that holds everything has.
OnCaughtUp(n, from) ==
    IF n.role # "leader" \/ from \notin Current(n).joining \/ from \notin DOMAIN n.peers THEN {n}
    ELSE LET may == IF n.peers[from].ready \/ n.peers[from].matched >= Last(n) THEN {TRUE}
                    ELSE BOOLEAN
         IN  UNION {AdvanceMembership([n EXCEPT !.peers[from].ready = ready]) : ready \in may}

(***************************** repair, again *******************************)

\* Whether a question is due.
MayAsk(n) == BOOLEAN

\* Asks for the first entries that cannot be read: the leader, or else everybody.
AskForRepair(n) ==
    LET open == Open(n.gaps)
        first == open[1].first
        to == IF n.leader # Nil THEN {n.leader} ELSE Members(Current(n)) \ {n.me}
        m == RepairAsk(first, TermAt(n, first), open[1].last)
    IN  IF open = <<>> THEN n
        ELSE [Did(n, "AskForRepair") EXCEPT !.out = @ \cup {[to |-> p, m |-> m] : p \in to}]

\* A leader sends the entries anew. Others tell what they have of them; in this term, and not of what
\* is committed and forgotten here.
OnRepairAsk(n, from, m) ==
    LET isOpen(first, last) == Within(Open(n.gaps), first, last) # <<>>
        readable == IF isOpen(m.first, m.last)
                    THEN Within(Open(n.gaps), m.first, m.last)[1].first - 1 ELSE m.last
        upto == Min(readable, Last(n))
    IN  IF n.role = "leader"
        THEN IF from \notin DOMAIN n.peers THEN n
             ELSE [Did(n, "OnRepairAsk, leading") EXCEPT !.peers[from] = LostFrom(@, m.first)]
        ELSE IF m.first <= n.base \/ ~HardIsSafe(n) THEN n
        ELSE Send(n, from, IF ~Has(n, m.first, m.firstTerm)
            THEN RepairTell(n.term, "lacks", m.first, m.firstTerm)
            ELSE IF isOpen(m.first, m.first)
            THEN RepairTell(n.term, "unreadable", m.first, m.firstTerm)
            ELSE RepairTellHas(n.term, m.first - 1, TermAt(n, m.first - 1), Terms(n, m.first, upto),
                    Among(n.configs, m.first, upto)))

\* Entries of this log have come, after `prev': those that cannot be read are written again.
RECURSIVE RepairEntries(_, _, _, _)
RepairEntries(n, prev, terms, configs) ==
    LET open == Within(Open(n.gaps), prev + 1, prev + Len(terms))
        first == open[1].first
        last == open[1].last
        inside == Among(configs, first, last)
        written == Persist(RestoreConfigs(Did(n, "RepairEntries"), first, last, inside),
            "repair", first - 1, SubSeq(terms, first - prev, last - prev), inside)
        closed == [written EXCEPT !.gaps = Closing(@, first, last, Len(written.queue)),
                                  !.lacking = {}]
    IN  IF open = <<>> THEN n ELSE RepairEntries(closed, prev, terms, configs)

\* Whether it is elected and has yet to mend its log.
HasWon(n) == n.role = "candidate" /\ IsQuorum(Current(n), n.tally.yes)

\* A peer lacks the first entry that cannot be read, and says so in this term. Once so many do that no
\* majority can have it, it was never committed, and the log ends before it.
OnLacking(n, from, m) ==
    LET open == Open(n.gaps)
        isFirst == open # <<>> /\ open[1].first = m.first /\ Intact(n) = m.first - 1
        lacks == [n EXCEPT !.lacking = @ \cup {from}]
        ended == PersistEntries(TruncateEntries(Did(lacks, "OnLacking, discards"), m.first),
            m.first - 1, <<>>, <<>>, TRUE)
    IN  IF ~isFirst \/ ~Has(n, m.first, m.firstTerm) \/ ~HasWon(n) THEN {n}
        ELSE IF ~Blocks(Current(n), lacks.lacking) THEN {lacks}
        ELSE IF IsWhole(ended) THEN CountVotes(ended) ELSE {ended}

OnRepairTell(n, from, m) ==
    LET isOurs == /\ Has(n, m.prev, m.prevTerm)
                  /\ m.prev + Len(m.terms) <= Last(n)
                  /\ FirstDifference(n, m.prev, m.terms) = 0
    IN  CASE m.holding = "has" ->
                {IF isOurs THEN RepairEntries(n, m.prev, m.terms, m.configs) ELSE n}
          [] m.holding = "lacks" -> OnLacking(n, from, m)
          [] m.holding = "unreadable" -> {n}

\* The first `count' writes under way are durable: an elected node that has its log back leads.
OnRepaired(n, count) ==
    LET left == SelectSeq(n.gaps, LAMBDA g : g.write = 0 \/ g.write > count)
        mended == [n EXCEPT !.gaps =
            [i \in DOMAIN left |-> [left[i] EXCEPT !.write = Max(@ - count, 0)]]]
    IN  IF left = <<>> /\ ~IsWhole(n) THEN CountVotes(Did(mended, "OnRepaired")) ELSE {mended}

(*************************** replication, again ****************************)

\* AppendEntries, receiver's side. What is committed here agrees already, and is cut off.
OnAppend(n, from, m) ==
    LET heard == HeardLeader(n, from)
        cut == Min(Max(n.commit - m.prev, 0), Len(m.terms))
        \* All of it is long committed: it is as good as a question about the commit index.
        old == m.prev + Len(m.terms) <= n.commit /\ m.prev < n.commit
        prev == IF m.prev < n.commit THEN n.commit ELSE m.prev
        prevTerm == IF m.prev >= n.commit THEN m.prevTerm
                    ELSE IF old THEN TermAt(n, n.commit) ELSE m.terms[cut]
        terms == IF old THEN <<>> ELSE SubSeq(m.terms, cut + 1, Len(m.terms))
        configs == Among(m.configs, prev + 1, prev + Len(terms))
        last == prev + Len(terms)
        ground == CommonGround(heard, prev, prevTerm)
        at == FirstDifference(heard, prev, terms)
        replaces == at <= Last(heard)
        fresh == SubSeq(terms, at - prev, Len(terms))
        freshConfigs == Among(configs, at, last)
        same == IF at = 0 THEN last ELSE at - 1
        mended == RepairEntries(heard, prev, SubSeq(terms, 1, same - prev), configs)
        kept == IF replaces THEN TruncateEntries(mended, at) ELSE mended
        taken == IF at = 0 THEN mended
                 ELSE PersistEntries(AppendEntries(kept, fresh, freshConfigs), at - 1, fresh,
                        freshConfigs, replaces)
        learnt == LearnCommit([taken EXCEPT !.verified = Max(@, last)], m.commit)
    IN  IF ~Has(heard, prev, prevTerm)
        THEN SendWhenSafe(Did(heard, "Conflict"), from,
                Conflict(n.term, prev, ground, TermAt(heard, ground)))
        ELSE Acknowledge(IF Durable(learnt) >= last THEN [learnt EXCEPT !.acked = -1] ELSE learnt)

OnAppendReply(n, from, m) ==
    LET retry == CommonGround(n, m.hint, m.hintTerm) + 1
    IN  IF n.role # "leader" \/ from \notin DOMAIN n.peers THEN {n}
        ELSE IF m.ok
        THEN UNION {OnCaughtUp(k, from) :
                k \in AdvanceCommit([n EXCEPT !.peers[from] = Acknowledged(@, m.match)])}
        ELSE {[n EXCEPT !.peers[from] = Conflicted(@, m.prev, Min(retry, m.prev))]}

(****************************** read, again ******************************)

\* Reads that may be asked for again, because no answer came for a while.
AskedAgain(n) == SUBSET n.asks

OnBeatReply(n, from, m) ==
    IF n.role # "leader" \/ from \notin DOMAIN n.peers \/ m.round > n.latest THEN n
    ELSE ConfirmReads([n EXCEPT !.peers[from].round = Max(@, m.round)])

OnReadAsk(n, from, m) ==
    LET asker == [who |-> from, id |-> m.id, life |-> m.life]
    IN  IF n.role = "leader" THEN TakeRead(n, asker, m.lease) ELSE {Answer(n, asker, -1)}

OnReadTell(n, m) ==
    LET same == {a \in n.asks : a.id = m.id}
        told == Tell([n EXCEPT !.asks = @ \ same], [type |-> "read", id |-> m.id, at |-> m.at])
    IN  IF m.life # n.life \/ same = {} THEN n
        ELSE IF m.at # -1 /\ \A a \in same : ~a.lease THEN [told EXCEPT !.mark = Max(@, m.at)]
        ELSE told

(******************************** snapshot *********************************)

\* A durable snapshot covers everything up to `base': the log may forget it.
Compacted(n, base) ==
    IF base <= n.base THEN n
    ELSE Covered([n EXCEPT !.log = SubSeq(@, base - n.base + 1, Len(@)), !.base = base,
            !.baseTerm = TermAt(n, base), !.first = ConfigAt(n, base),
            !.configs = SelectSeq(@, LAMBDA c : c.at > base)], base)

OnSnapshot(n, from, m) ==
    LET heard == HeardLeader(n, from)
    IN  IF m.base <= n.commit THEN VerifyCommitted(heard)
        ELSE Tell(heard, [type |-> "install", from |-> from, base |-> m.base,
                baseTerm |-> m.baseTerm])

\* A leader's snapshot is durable and loaded here.
Installed(n, base, baseTerm, config) ==
    LET moved == [n EXCEPT !.commit = base]
        \* Nobody is to be sent from here what cannot be read.
        shorter == OnConfig([Did(moved, "Install, over gaps")
                    EXCEPT !.log = SubSeq(@, base - n.base + 1, Len(@)), !.base = base,
                           !.baseTerm = baseTerm, !.first = config,
                           !.configs = SelectSeq(@, LAMBDA c : c.at > base)])
        kept == IF Intact(n) < base THEN shorter ELSE moved
        empty == OnConfig([Did(moved, "Install, over another log")
                    EXCEPT !.log = <<>>, !.base = base, !.baseTerm = baseTerm, !.first = config,
                           !.configs = <<>>])
        reset == Persist(StopVouching(empty, base + 1), "reset", base, <<baseTerm>>, <<>>)
    IN  IF base <= n.commit THEN n
        ELSE VerifyCommitted(Covered(IF Has(n, base, baseTerm) THEN kept ELSE reset, base))

(**************************** durable, again *****************************)

\* The first `count' writes under way are durable: what waited for that may be said and counted.
OnPersisted(n, count) ==
    LET shorter == [n EXCEPT !.queue = SubSeq(@, count + 1, Len(@)), !.durable = n.queue[count].end,
                        !.hardIn = Max(@ - count, 0)]
        said == IF ~HardIsSafe(shorter) THEN shorter
                ELSE [shorter EXCEPT !.out = @ \cup n.waiting, !.waiting = {}]
        announced == UNION {AnnounceCandidacy(k) : k \in OnRepaired(said, count)}
    IN  UNION {AdvanceCommit(Acknowledge(k)) : k \in announced}

(**************************** transfer, again ****************************)

\* After every step a leader minds its transfer: it may end for want of time or of a fit target, or
\* because the disk has answered; for a slow disk one may begin, or the leader fall silent.
MindTransfer(n) ==
    IF n.role # "leader" THEN {n}
    ELSE LET hands(k) == Did(k, "MindTransfer, off a slow disk")
             begun == {[hands(n) EXCEPT !.transfer = p, !.urged = FALSE] : p \in MayTakeOver(n)}
             ended == EndTransfer(n, FALSE)
             another == {[hands(ended) EXCEPT !.transfer = p] : p \in MayTakeOver(n)}
             silent == Follow(Did(ended, "MindTransfer, falls silent"), n.term, Nil)
         IN  IF n.transfer = Nil THEN {n} \cup {UrgeTarget(k) : k \in begun}
             ELSE {IF n.urged THEN n ELSE UrgeTarget(n), ended, silent} \cup another

(********************************** raft ***********************************)

FromLeader == {"append", "beat", "commit", "timeout-now", "snapshot"}
\* Messages whose term moves nobody.
IsTermless(m) ==
    \/ m.type \in {"repair-ask", "read-ask", "read-tell", "heard", "disowned"}
    \/ m.type = "vote" /\ m.pre
    \/ m.type = "vote-reply" /\ m.pre /\ m.granted

\* An entry is what it is in any term.
IsOfAnyTerm(m) == m.type = "vote" \/ (m.type = "repair-tell" /\ m.holding = "has")

OnBeat(n, from, m) ==
    LET heard == LearnCommit(HeardLeader(n, from), m.commit)
        replied == SendWhenSafe(heard, from, BeatReply(n.term, m.round))
        ask(a) == [to |-> from, m |-> ReadAsk(a.id, n.life, a.lease)]
    IN  {[replied EXCEPT !.out = @ \cup {ask(a) : a \in again}] : again \in AskedAgain(replied)}

\* The message by its kind, once terms are settled.
Handle(n, from, m) ==
    CASE m.type = "vote" -> OnVote(n, from, m)
      [] m.type = "vote-reply" -> OnVoteReply(n, from, m)
      [] m.type = "append" -> {OnAppend(n, from, m)}
      [] m.type = "append-reply" -> OnAppendReply(n, from, m)
      [] m.type = "beat" -> OnBeat(n, from, m)
      [] m.type = "beat-reply" -> {OnBeatReply(n, from, m)}
      [] m.type = "commit" -> {LearnCommit(HeardLeader(n, from), m.commit)}
      [] m.type = "timeout-now" -> OnTimeoutNow(n, from)
      [] m.type = "snapshot" -> {OnSnapshot(n, from, m)}
      [] m.type = "repair-ask" -> {OnRepairAsk(n, from, m)}
      [] m.type = "repair-tell" -> OnRepairTell(n, from, m)
      [] m.type = "read-ask" -> OnReadAsk(n, from, m)
      [] m.type = "read-tell" -> {OnReadTell(n, m)}
      [] m.type = "disowned" -> {OnDisowned(n, from, m)}
      [] m.type = "heard" -> {n}

\* Figure 2, rules for all servers: terms first. A voter that has heard a leader lately disregards
\* a candidate of a later term.
OnMessage(n, from, m) ==
    IF ~Hears(n, from, m) THEN {n}
    ELSE IF IsTermless(m) THEN Handle(n, from, m)
    ELSE LET isLeaders == m.type \in FromLeader
             now == IF m.term > n.term
                    THEN Follow(n, m.term, IF isLeaders THEN from ELSE Nil) ELSE n
             heard == IF isLeaders /\ m.term < n.term
                      THEN {SendWhenSafe(n, from, BeatReply(n.term, 0))}
                      ELSE IF m.term < n.term /\ ~IsOfAnyTerm(m) THEN {n}
                      ELSE Handle(now, from, m)
             disturbs == m.type = "vote" /\ m.term > n.term /\ ~m.transfer
         IN  IF ~disturbs THEN heard
             ELSE IF n.role = "leader" THEN {n}
             ELSE heard \cup {n}

\* A leader's heartbeat is due, after which it may find that it has lost its quorum; or the others'
\* patience is at its end.
OnDue(n) ==
    IF n.role # "leader" THEN PreCampaign(n)
    ELSE LET advanced == UNION {AdvanceMembership(Dismiss(n, silent)) : silent \in Silent(n)}
             beaten == UNION {{BeatAll(k, silent) : silent \in Unanswered(k)} : k \in advanced}
             gone(k) == Follow(Did(k, "Follow, without a quorum"), k.term, Nil)
             quorum(k) == {IF alone /\ k.role = "leader" THEN gone(k) ELSE k :
                            alone \in MayBeAlone(k)}
         IN  UNION {quorum(k) : k \in beaten}
OnDeadline(n) ==
    LET asked == {IF asks THEN AskForRepair(n) ELSE n : asks \in MayAsk(n)}
    IN  UNION {UNION {IF early THEN {k} ELSE OnDue(k) : early \in MayBeEarly(k)} : k \in asked}

EndTurn(n) ==
    TellCommit(IF n.role = "leader" /\ n.gathered # {} /\ BeginRound(n).latest # n.latest
               THEN ConfirmReads(SendBeats(BeginRound(n))) ELSE n)

\* A node that starts with what a disk holds, but for the log's beginning up to `base'; of what is
\* `lost' it cannot read what its snapshot does not cover, and configurations may be in some of that.
Recovered(me, life, d, base, commit, lost, hiding) ==
    LET log == SubSeq(d.log, base - d.base + 1, Len(d.log))
        baseTerm == IF base = d.base THEN d.baseTerm ELSE d.log[base - d.base]
        term == Max(d.term, d.snapTerm)
        last == base + Len(log)
        lastTerm == IF log = <<>> THEN baseTerm ELSE log[Len(log)]
        gone == lost \cap (d.snap + 1)..last
        gaps == GapsOf(gone, hiding)
        intact == IF gaps = <<>> THEN last ELSE gaps[1].first - 1
        \* If the last entry is of this very term, its leader made it: so the whole log agrees.
        verified == IF lastTerm = term THEN last ELSE 0
    IN  [me |-> me, life |-> life, disk |-> d.name, met |-> <<>>,
         \* A snapshot can outlive the write of the term it came in.
         term |-> term, vote |-> IF d.snapTerm > d.term THEN Nil ELSE d.vote,
         role |-> "follower", leader |-> Nil, tally |-> NoTally,
         base |-> base, baseTerm |-> baseTerm, log |-> log, first |-> d.snapConfig,
         configs |-> SelectSeq(Among(d.configs, base + 1, last), LAMBDA c : c.at \notin gone),
         commit |-> Max(d.snap, Min(commit, intact)), gaps |-> gaps, lacking |-> {},
         durable |-> last, queue |-> <<>>, hardIn |-> 0, waiting |-> {},
         verified |-> verified, acked |-> Min(verified, intact),
         peers |-> <<>>, since |-> 0, latest |-> 0, rounds |-> <<>>, gathered |-> {},
         asks |-> {}, mark |-> -1,
         transfer |-> Nil, urged |-> FALSE, void |-> FALSE,
         out |-> {}, told |-> {}, did |-> {}]

=============================================================================
