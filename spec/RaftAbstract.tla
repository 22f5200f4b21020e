---------------------------- MODULE RaftAbstract ----------------------------
(***************************************************************************)
(* Headwater's algorithm without its messages: what nodes promise each     *)
(* other, and what their disks still know when the power fails.            *)
(*                                                                         *)
(* There are no messages, for two reasons.  What a leader has ever sent is *)
(* a part of the longest log that it had: `said' keeps that, so an append  *)
(* may arrive as late as it likes, from a leader long gone.  And what an   *)
(* answer says remains true, and is counted by nobody but whom it is for:  *)
(* so it may be counted at once, and acted upon later.                     *)
(*                                                                         *)
(* Each group of actions bears the name of the room in crates/raft that    *)
(* does the same.  This module is the paper's Raft, on disks that take     *)
(* their time; what time and lost or damaged disks add stands in           *)
(* RaftAbstractTime and RaftAbstractDisk.                                  *)
(*                                                                         *)
(* Source: Ongaro and Ousterhout, Figure 2; dissertation, 4.3, 6.4, 10.2.1 *)
(***************************************************************************)
EXTENDS RaftAbstractTime, RaftAbstractDisk

(********************************* durable *********************************)

\* The oldest write under way has become durable.
Sync(s) ==
    /\ Len(disk[s]) > 1
    /\ disk' = [disk EXCEPT ![s] = Tail(@)]
    /\ UNCHANGED <<file, mind, clock, said, witness, spent>>

\* The process ends and starts again. Of what was under way nothing is left: that some of it is, is
\* the same as if it had become durable before.
Crash(s) ==
    /\ spent.crashes < CrashesMax
    /\ spent' = [spent EXCEPT !.crashes = @ + 1]
    /\ Restart(s, Recovered(s))
    /\ UNCHANGED <<file, said, witness>>

(******************************** election *********************************)

\* A node that votes asks for an election. Whoever has heard a leader lately does not, and asks
\* first whether it could win (pre-vote); neither is needed for safety.
Campaign(s) ==
    /\ clock[s].promise = 0
    /\ Stand(s, FALSE)
    /\ UNCHANGED <<file, clock, said, witness, spent>>

\* Node s hears of the later term of another, which may speak of it once it is safe.
UpdateTerm(s, other) ==
    /\ Now(s).term < Now(other).term
    /\ HardIsSafe(other)
    /\ CanWrite(s)
    /\ Write(s, [Now(s) EXCEPT !.term = Now(other).term, !.vote = Nil])
    /\ Become(s, "follower", 0)
    /\ UNCHANGED <<file, clock, said, witness, spent>>

\* Voter v gives its vote to c, whose question leaves when its own vote is safe.
HandleVote(v, c) ==
    /\ v # c
    /\ Role(c) = "candidate"
    /\ HardIsSafe(c)
    /\ Now(v).term = Now(c).term
    /\ Now(v).vote = Nil
    /\ UpToDate(Now(c).log, Now(v).log)
    /\ clock[v].promise = 0 \/ mind[c].favoured
    /\ IsHeard(v, c)
    /\ CanWrite(v)
    /\ Write(v, [Now(v) EXCEPT !.vote = c])
    /\ UNCHANGED <<file, mind, clock, said, witness, spent>>

\* Candidate c counts the vote of v, its own among them, which is said once it is safe.
HandleVoteReply(c, v) ==
    /\ Role(c) = "candidate"
    /\ v \notin mind[c].votes
    /\ Now(v).term = Now(c).term
    /\ Now(v).vote = c
    /\ HardIsSafe(v)
    /\ IsVoter(Config(c), v)
    \* A vote for a disk that was lost is not said to the one in its place, and the other way round.
    /\ v = c \/ IsMembers(c, v)
    /\ v = c \/ IsHeard(v, c)
    /\ mind' = [mind EXCEPT ![c].votes = @ \cup {v}]
    /\ UNCHANGED <<disk, file, clock, said, witness, spent>>

\* A leader that hears no quorum steps down. It may do so at any time; among the crashes it is one
\* that loses nothing.
CheckQuorum(s) ==
    /\ spent.crashes < CrashesMax
    /\ spent' = [spent EXCEPT !.crashes = @ + 1]
    /\ Role(s) = "leader"
    /\ Become(s, "follower", 0)
    /\ UNCHANGED <<disk, file, clock, said, witness>>

(******************************* replication *******************************)

\* Leader s, if it is one by then, appends an entry of its term.
AppendOwn(s, body) ==
    LET log == Append(Now(s).log, [term |-> Now(s).term, body |-> body])
    IN  /\ Len(log) <= EntriesMax
        /\ CanWrite(s)
        /\ Write(s, [Now(s) EXCEPT !.log = log])
        /\ said' = [said EXCEPT ![Now(s).term].log = log]

\* A quorum has voted: the candidate leads, and its first entry is empty. A log that cannot be read
\* cannot be sent: it is mended first.
Lead(s) ==
    /\ HasWon(s)
    /\ Intact(Now(s).log) = Len(Now(s).log)
    /\ AppendOwn(s, Nil)
    /\ Become(s, "leader", 0)
    /\ witness' = [witness EXCEPT !.elected[Now(s).term] = @ \cup {<<s, Now(s).life>>}]
    /\ UNCHANGED <<file, clock, spent>>

Propose(s) ==
    /\ Role(s) = "leader"
    /\ AppendOwn(s, Nil)
    /\ UNCHANGED <<file, mind, clock, witness, spent>>

\* Node s takes in what the leader of its term once sent: the entries after `prev' up to `last'.
HandleAppend(s, prev, last) ==
    LET sent == said[Now(s).term].log
        mine == Now(s).log
        \* What cannot be read here is mended by what comes, in its place.
        whole == [i \in 1..Len(mine) |->
            IF mine[i].body = Damaged /\ i > prev /\ i <= Min(last, Agree(mine, sent))
            THEN sent[i] ELSE mine[i]]
        \* Only what differs replaces anything: an old message must not shorten the log.
        agrees == Max(prev, Min(Agree(mine, sent), last))
        log == IF agrees = last THEN whole
               ELSE SubSeq(whole, 1, agrees) \o SubSeq(sent, agrees + 1, last)
    IN  /\ Now(s).term > 0
        /\ Role(s) # "leader"
        \* A leader that has stepped down hears nobody in its term.
        /\ <<s, Now(s).life>> \notin witness.elected[Now(s).term]
        /\ last <= Len(sent) /\ prev <= last
        /\ prev <= Len(mine) /\ TermAt(mine, prev) = TermAt(sent, prev)
        /\ last > mind[s].verified \/ log # mine
        /\ IF log = mine
           THEN UNCHANGED disk
           ELSE CanWrite(s) /\ Write(s, [Now(s) EXCEPT !.log = log])
        /\ Become(s, "follower", Max(mind[s].verified, last))
        /\ UNCHANGED <<file, clock, said, witness, spent>>

\* Leader l learns how far the log of s agrees with its own and is safe.
HandleAppendReply(l, s) ==
    LET upto == Min(mind[s].verified, SafeIndex(s))
    IN  /\ Role(l) = "leader" /\ Role(s) = "follower"
        /\ Now(s).term = Now(l).term
        /\ HardIsSafe(s)
        /\ IsMembers(l, s)
        /\ upto > mind[l].match[s]
        /\ mind' = [mind EXCEPT ![l].match[s] = upto]
        /\ UNCHANGED <<disk, file, clock, said, witness, spent>>

(********************************* commit **********************************)

\* Leader s commits what a quorum holds. Its own copy counts only when it is safe, too.
AdvanceCommit(s) ==
    LET log == Now(s).log
        held == [mind[s].match EXCEPT ![s] = SafeIndex(s)]
    IN  /\ Role(s) = "leader"
        /\ \E i \in mind[s].commit + 1..Len(log) :
            /\ IsQuorum(Config(s), {p \in Server : held[p] >= i})
            \* An entry of an earlier term could still be overwritten (Figure 8).
            /\ log[i].term = Now(s).term
            /\ mind' = [mind EXCEPT ![s].commit = i]
            /\ witness' = [witness EXCEPT !.committed =
                    IF i > Len(@) THEN SubSeq(log, 1, i) ELSE @]
            \* Followers need to know only for their snapshots.
            /\ said' = IF SnapshotsMax = 0 THEN said
                       ELSE [said EXCEPT ![Now(s).term].commit = i]
        /\ UNCHANGED <<disk, file, clock, spent>>

(******************************* membership ********************************)

\* The leader has committed an entry of its term, and the newest configuration.
IsSettled(s) ==
    /\ Role(s) = "leader"
    /\ mind[s].commit > 0
    /\ ConfigIndex(Now(s).log) <= mind[s].commit

\* A member that leaves takes its disk's name with it; of one that comes none is known yet.
DisksOf(now, next) ==
    IF WipesMax = 0 THEN now.disks
    ELSE [p \in Server |-> IF p \in Members(now) /\ p \in Members(next) THEN now.disks[p] ELSE Nil]

\* The first step to other members: while voters change, both majorities rule.
ChangeTo(s, voters, learners) ==
    LET now == Config(s)
        outgoing == IF voters = now.voters THEN {} ELSE now.voters
        next == [voters |-> voters, outgoing |-> outgoing, learners |-> learners,
                 disks |-> now.disks]
        new == Members(next) \ Members(now)
    IN  /\ IsSettled(s)
        /\ now.outgoing = {}
        /\ AppendOwn(s, [next EXCEPT !.disks = DisksOf(now, next)])
        \* What is known of who is new is of an earlier membership, and perhaps of another disk.
        /\ mind' = [mind EXCEPT ![s].match = [p \in Server |-> IF p \in new THEN 0 ELSE @[p]]]
        /\ UNCHANGED <<file, clock, witness>>

\* An operator asks for other voters or learners.
Reconfigure(s, voters, learners) ==
    /\ spent.changes < ChangesMax
    /\ spent' = [spent EXCEPT !.changes = @ + 1]
    /\ <<voters, learners>> # <<Config(s).voters, Config(s).learners>>
    /\ ChangeTo(s, voters, learners)

\* A learner that is to vote has caught up.
Promote(s, p) ==
    /\ p \in FirstLearners /\ p \in Config(s).learners
    /\ mind[s].match[p] >= mind[s].commit
    /\ ChangeTo(s, Config(s).voters \cup {p}, Config(s).learners \ {p})
    /\ UNCHANGED spent

\* Leader s may write down the disk of p: none is known, and p has acknowledged the entry that made
\* it a member.
IsNewcomer(s, p) ==
    /\ p \in Members(Config(s)) /\ Config(s).disks[p] = Nil
    /\ p = s \/ mind[s].match[p] >= ConfigIndex(Now(s).log)

\* The second step: once the first is committed, the voters so far are let go. Whose disk was met by
\* then is named with it: its leader may go, too, and who missed the change hears no other.
LeaveJoint(s) ==
    LET now == Config(s)
        next == [now EXCEPT !.outgoing = {}]
        met == [p \in Server |-> IF IsNewcomer(s, p) THEN Now(p).life ELSE now.disks[p]]
        named == IF WipesMax = 0 THEN now ELSE [now EXCEPT !.disks = met]
    IN  /\ IsSettled(s)
        /\ now.outgoing # {}
        /\ AppendOwn(s, [next EXCEPT !.disks = DisksOf(named, next)])
        /\ UNCHANGED <<file, mind, clock, witness, spent>>

NameDisk(s, p) ==
    LET now == Config(s)
    IN  /\ IsSettled(s)
        /\ now.outgoing = {}
        /\ IsNewcomer(s, p)
        /\ AppendOwn(s, [now EXCEPT !.disks[p] = Now(p).life])
        /\ UNCHANGED <<file, mind, clock, witness, spent>>

\* A leader that was removed goes once that is committed.
LeaveOffice(s) ==
    /\ IsSettled(s)
    /\ ~IsVoter(Config(s), s)
    /\ Become(s, "follower", 0)
    /\ UNCHANGED <<disk, file, clock, said, witness, spent>>

(********************************** read ***********************************)

\* A leader that has committed in its term notes how far, and asks whether it still leads.
AskRead(s) ==
    /\ spent.reads < ReadsMax
    /\ Role(s) = "leader" /\ mind[s].commit > 0 /\ mind[s].read = Nil
    /\ mind' = [mind EXCEPT ![s].read =
            [index |-> mind[s].commit, seen |-> Len(witness.committed), by |-> {}]]
    /\ spent' = [spent EXCEPT !.reads = @ + 1]
    /\ UNCHANGED <<disk, file, clock, said, witness>>

\* A node of the same term says so. What it says holds for all reads asked before.
HandleBeatReply(s, from) ==
    /\ mind[s].read # Nil
    /\ from # s /\ from \notin mind[s].read.by
    /\ Now(from).term = Now(s).term
    /\ HardIsSafe(from)
    /\ IsMembers(s, from)
    /\ mind' = [mind EXCEPT ![s].read.by = @ \cup {from}]
    /\ UNCHANGED <<disk, file, clock, said, witness, spent>>

IsConfirmed(s) == mind[s].read # Nil /\ IsQuorum(Config(s), mind[s].read.by \cup {s})

ServeRead(s) ==
    /\ IsConfirmed(s)
    /\ mind' = [mind EXCEPT ![s].read = Nil]
    /\ UNCHANGED <<disk, file, clock, said, witness, spent>>

(******************************** behaviour ********************************)

Init ==
    /\ disk = [s \in Server |-> <<[term |-> 0, vote |-> Nil, log |-> <<>>, life |-> 0]>>]
    /\ file = [s \in Server |-> <<>>]
    /\ mind = [s \in Server |-> Fresh("follower", 0)]
    /\ clock = [s \in Server |-> [promise |-> 0, lag |-> 0]]
    /\ said = [t \in Term |-> [log |-> <<>>, commit |-> 0, to |-> {}]]
    /\ witness = [elected |-> [t \in Term |-> {}], committed |-> <<>>]
    /\ spent = [crashes |-> 0, changes |-> 0, reads |-> 0, snapshots |-> 0, ticks |-> 0,
                transfers |-> 0, wipes |-> 0, rots |-> 0]

\* What follows from what was said and written.
Follow ==
    \/ \E s \in Server :
        \/ Sync(s)
        \/ Lead(s)
        \/ \E prev, last \in 0..EntriesMax : HandleAppend(s, prev, last)
        \/ AdvanceCommit(s)
        \/ LeaveJoint(s) \/ LeaveOffice(s)
        \/ ServeRead(s)
        \/ Install(s)
        \/ Beat(s)
        \/ Discard(s)
    \/ \E s, p \in Server :
        \/ UpdateTerm(s, p) \/ HandleVote(s, p) \/ HandleVoteReply(s, p)
        \/ HandleAppendReply(s, p) \/ HandleBeatReply(s, p)
        \/ Promote(s, p) \/ NameDisk(s, p)
        \/ HandleSnapshot(s, p)
        \/ HandleBeat(s, p) \/ HandlePromise(s, p)
        \/ Mend(s, p)

\* What the nodes do by themselves.
Step ==
    \/ Follow
    \/ \E s \in Server : Campaign(s) \/ TakeOver(s)

\* What others ask of them.
Request ==
    \/ \E s \in Server : Propose(s) \/ AskRead(s) \/ Compact(s)
    \/ \E s, p \in Server : TimeoutNow(s, p)
    \/ \E s \in Server, voters \in SUBSET Server \ {{}}, learners \in SUBSET MayLearn :
        voters \cap learners = {} /\ Reconfigure(s, voters, learners)

\* What befalls them.
Fault ==
    \/ \E s \in Server : Crash(s) \/ CheckQuorum(s) \/ Wipe(s)
    \/ \E s \in Server, i \in 1..EntriesMax : Rot(s, i)
    \/ \E slow \in SUBSET Server : Tick(slow)

Next == Step \/ Request \/ Fault

Spec == Init /\ [][Next]_vars

(******************************* properties ********************************)

\* Figure 3. At most one leader can be elected in a term.
ElectionSafety == \A t \in Term : Cardinality(witness.elected[t]) <= 1

\* A leader never overwrites or deletes entries in its log; it only appends.
LeaderAppendOnly ==
    [][\A s \in Server :
        Role(s) = "leader" /\ Role(s)' = "leader" => IsPrefix(Now(s).log, Now(s)'.log)]_vars

\* Two logs with an entry of the same term at an index are the same up to it, but for what cannot
\* be read.
LogMatching ==
    \A a, b \in Server :
        LET x == Now(a).log
            y == Now(b).log
        IN  \A i \in 1..Min(Len(x), Len(y)) : x[i].term = y[i].term =>
                \A j \in 1..i :
                    /\ x[j].term = y[j].term
                    /\ x[j].body = y[j].body \/ Damaged \in {x[j].body, y[j].body}

\* What is committed is in the log of every leader of a later term.
LeaderCompleteness ==
    \A s \in Server :
        Role(s) = "leader" /\ Now(s).term >= LastTerm(witness.committed)
            => IsPrefix(witness.committed, Now(s).log)

\* All nodes apply the same: what is committed is only ever added to, and leaders agree on it.
StateMachineSafety ==
    /\ [][IsPrefix(witness.committed, witness.committed')]_vars
    /\ [](\A s \in Server : IsPrefix(SubSeq(Now(s).log, 1, mind[s].commit), witness.committed))

\* At the moment an entry is committed, a quorum would still hold it after a power cut everywhere;
\* but for disks lost since they acknowledged it.
DurableQuorum ==
    [][witness.committed' # witness.committed =>
        \E s \in Server : Role(s) = "leader" /\ IsQuorum(Config(s),
            {p \in Server : \/ Has(Recovered(p).log, witness.committed')
                            \/ Config(s).disks[p] \notin {Nil, Now(p).life}})]_vars

\* What a leader counts as held is safe there at that moment, and can be read.
HonestCopies ==
    [][\A l, s \in Server : Role(l) = "leader" =>
        /\ mind[l].match'[s] > mind[l].match[s] =>
            Common(Recovered(s).log, said[Now(l).term].log) >= mind[l].match'[s]]_vars

\* Each committed configuration is a legal step from the one before.
ConfigChain ==
    \A i \in 1..Len(witness.committed) : witness.committed[i].body # Nil =>
        LET was == ConfigIn(SubSeq(witness.committed, 1, i - 1))
            is == witness.committed[i].body
        IN  IF was.outgoing # {}
            THEN is.outgoing = {} /\ is.voters = was.voters
            ELSE is.outgoing = IF is.voters = was.voters THEN {} ELSE was.voters

\* A read that a quorum has confirmed sees all that was committed before it was asked.
LinearizableReads == \A s \in Server : IsConfirmed(s) => mind[s].read.index >= mind[s].read.seen

\* While a leader has a lease, all that is committed is committed by it.
LeaseSafety == \A s \in Server : HasLease(s) => mind[s].commit >= Len(witness.committed)

\* No node's log is of a later term than the node itself.
TermsCoverLogs == \A s \in Server : LET d == Recovered(s) IN LastTerm(d.log) <= d.term

=============================================================================
