---------------------------- MODULE RaftAbstract ----------------------------
(***************************************************************************)
(* Headwater's algorithm without its messages: what nodes promise each     *)
(* other, and what their disks still know when the power fails.            *)
(*                                                                         *)
(* A node's disk is a queue of images.  The first is durable; the last is  *)
(* what the node believes; a crash leaves the first alone.  Nothing may be *)
(* said that rests on more than the first.                                 *)
(*                                                                         *)
(* There are no messages, for two reasons.  What a leader has ever sent is *)
(* a part of the longest log that it had: `ledger' keeps that, so an       *)
(* append may arrive as late as it likes, from a leader long gone.  And    *)
(* what an answer says remains true, and is counted by nobody but whom it  *)
(* is for: so it may be counted at once, and acted upon later.             *)
(*                                                                         *)
(* Each group of actions bears the name of the room in crates/raft that    *)
(* does the same.                                                          *)
(*                                                                         *)
(* Source: Ongaro and Ousterhout, Figure 2; dissertation, 4.3, 6.4, 10.2.1 *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    Server,         \* all nodes, members or not
    Nil,            \* no vote, no configuration, no read
    FirstVoters,    \* who votes at the beginning
    TermsMax,       \* no node stands for a later term
    EntriesMax,     \* no leader appends beyond this index
    WritesMax,      \* how many writes may be under way
    CrashesMax,     \* how many crashes there are in all
    ChangesMax,     \* how many changes of voters are asked for in all
    ReadsMax        \* how many reads are asked for in all

VARIABLES
    disk,       \* [Server -> Seq([term, vote, log])], the first durable, the last believed
    role,       \* [Server -> {"follower", "candidate", "leader"}]
    verified,   \* [Server -> Nat]: up to here the log agrees with that of the term's leader
    votes,      \* [Server -> SUBSET Server]: the votes a candidate has counted
    match,      \* [Server -> [Server -> Nat]]: what each has acknowledged to a leader
    commit,     \* [Server -> Nat]: what a leader has committed in its term
    read,       \* [Server -> [index, seen, by]]: a leader's read under way
    ledger,     \* [Term -> Seq]: the longest log that a term's leader had
    elected,    \* [Term -> SUBSET Server]: who was ever elected
    committed,  \* the longest log that was ever committed
    spent       \* [crashes, changes, reads]: how many there have been

vars == <<disk, role, verified, votes, match, commit, read, ledger, elected, committed, spent>>

Term == 1..TermsMax
Zero == [s \in Server |-> 0]

(*************************** Words: types, log *****************************)

Now(s) == disk[s][Len(disk[s])]
Durable(s) == disk[s][1]

TermAt(log, i) == IF i = 0 THEN 0 ELSE log[i].term
LastTerm(log) == TermAt(log, Len(log))
IsPrefix(a, b) == Len(a) <= Len(b) /\ SubSeq(b, 1, Len(a)) = a
Max(a, b) == IF a > b THEN a ELSE b
Min(a, b) == IF a < b THEN a ELSE b

\* The longest beginning that two logs share.
Common(a, b) ==
    CHOOSE i \in 0..Min(Len(a), Len(b)) :
        /\ \A j \in 1..i : a[j] = b[j]
        /\ i < Min(Len(a), Len(b)) => a[i + 1] # b[i + 1]

\* A log of an older term may lack what is committed, however long: so terms compare first.
UpToDate(log, other) ==
    \/ LastTerm(log) > LastTerm(other)
    \/ LastTerm(log) = LastTerm(other) /\ Len(log) >= Len(other)

(***************************** configuration *******************************)

FirstConfig == [voters |-> FirstVoters, outgoing |-> {}]

\* The index of the newest configuration in a log: in force as soon as it is there.
ConfigIndex(log) ==
    LET with == {i \in 1..Len(log) : log[i].config # Nil}
    IN  IF with = {} THEN 0 ELSE CHOOSE i \in with : \A j \in with : j <= i
Config(log) == LET i == ConfigIndex(log) IN IF i = 0 THEN FirstConfig ELSE log[i].config

IsVoter(config, s) == s \in config.voters \cup config.outgoing
Majority(of, who) == 2 * Cardinality(of \cap who) > Cardinality(of)

(********************************* quorum **********************************)

\* A change of voters needs both majorities.
IsQuorum(config, who) ==
    /\ Majority(config.voters, who)
    /\ config.outgoing # {} => Majority(config.outgoing, who)

(********************************* durable *********************************)

\* The latest term and vote are safe: what promises them may be said.
HardIsSafe(s) ==
    \A i \in DOMAIN disk[s] : disk[s][i].term = Now(s).term /\ disk[s][i].vote = Now(s).vote

\* The end of the log that is safe: what no crash can take away.
RECURSIVE SafeIn(_, _)
SafeIn(images, log) ==
    IF images = <<>> THEN Len(log)
    ELSE Min(Common(Head(images).log, log), SafeIn(Tail(images), log))
SafeIndex(s) == SafeIn(disk[s], Now(s).log)

\* Node s writes what it believes from now on.
CanWrite(s) == Len(disk[s]) <= WritesMax
Write(s, image) == disk' = [disk EXCEPT ![s] = Append(@, image)]

\* The oldest write under way has become durable.
Sync(s) ==
    /\ Len(disk[s]) > 1
    /\ disk' = [disk EXCEPT ![s] = Tail(@)]
    /\ UNCHANGED <<role, verified, votes, match, commit, read, ledger, elected, committed, spent>>

\* A node begins anew as one that has counted nothing yet.
Become(s, as) ==
    /\ role' = [role EXCEPT ![s] = as]
    /\ votes' = [votes EXCEPT ![s] = {}]
    /\ match' = [match EXCEPT ![s] = Zero]
    /\ commit' = [commit EXCEPT ![s] = 0]
    /\ read' = [read EXCEPT ![s] = Nil]

\* The process ends and starts again. Of what was under way nothing is left: that some of it is, is
\* the same as if it had become durable before.
Crash(s) ==
    /\ spent.crashes < CrashesMax
    /\ spent' = [spent EXCEPT !.crashes = @ + 1]
    /\ disk' = [disk EXCEPT ![s] = <<Head(@)>>]
    \* If the last entry is of this very term, its leader made it: so the whole log agrees with it.
    /\ verified' = [verified EXCEPT ![s] =
            LET d == Durable(s) IN IF LastTerm(d.log) = d.term THEN Len(d.log) ELSE 0]
    /\ Become(s, "follower")
    /\ UNCHANGED <<ledger, elected, committed>>

(******************************** election *********************************)

\* A node that votes asks for an election. Whoever has heard a leader lately does not, and asks
\* first whether it could win (pre-vote); neither is needed for safety.
Campaign(s) ==
    /\ role[s] # "leader"
    /\ Now(s).term < TermsMax
    /\ IsVoter(Config(Now(s).log), s)
    /\ CanWrite(s)
    /\ Write(s, [Now(s) EXCEPT !.term = @ + 1, !.vote = s])
    /\ Become(s, "candidate")
    /\ verified' = [verified EXCEPT ![s] = 0]
    /\ UNCHANGED <<ledger, elected, committed, spent>>

\* Node s hears of the later term of another, which may speak of it once it is safe.
UpdateTerm(s, other) ==
    /\ HardIsSafe(other)
    /\ Now(s).term < Now(other).term
    /\ CanWrite(s)
    /\ Write(s, [Now(s) EXCEPT !.term = Now(other).term, !.vote = Nil])
    /\ Become(s, "follower")
    /\ verified' = [verified EXCEPT ![s] = 0]
    /\ UNCHANGED <<ledger, elected, committed, spent>>

\* Voter v gives its vote to c, whose question leaves when its own vote is safe.
HandleVote(v, c) ==
    /\ v # c
    /\ role[c] = "candidate"
    /\ HardIsSafe(c)
    /\ Now(v).term = Now(c).term
    /\ Now(v).vote = Nil
    /\ UpToDate(Now(c).log, Now(v).log)
    /\ CanWrite(v)
    /\ Write(v, [Now(v) EXCEPT !.vote = c])
    /\ UNCHANGED <<role, verified, votes, match, commit, read, ledger, elected, committed, spent>>

\* Candidate c counts the vote of v, its own among them, which is said once it is safe.
HandleVoteReply(c, v) ==
    /\ role[c] = "candidate"
    /\ v \notin votes[c]
    /\ Now(v).term = Now(c).term
    /\ Now(v).vote = c
    /\ HardIsSafe(v)
    /\ IsVoter(Config(Now(c).log), v)
    /\ votes' = [votes EXCEPT ![c] = @ \cup {v}]
    /\ UNCHANGED <<disk, role, verified, match, commit, read, ledger, elected, committed, spent>>

(******************************* replication *******************************)

\* Leader s, if it is one by then, appends an entry of its term.
AppendOwn(s, config) ==
    LET log == Append(Now(s).log, [term |-> Now(s).term, config |-> config])
    IN  /\ Len(log) <= EntriesMax
        /\ CanWrite(s)
        /\ Write(s, [Now(s) EXCEPT !.log = log])
        /\ ledger' = [ledger EXCEPT ![Now(s).term] = log]

\* A quorum has voted: the candidate leads, and its first entry is empty.
Lead(s) ==
    /\ role[s] = "candidate"
    /\ IsQuorum(Config(Now(s).log), votes[s])
    /\ AppendOwn(s, Nil)
    /\ role' = [role EXCEPT ![s] = "leader"]
    /\ votes' = [votes EXCEPT ![s] = {}]
    /\ elected' = [elected EXCEPT ![Now(s).term] = @ \cup {s}]
    /\ UNCHANGED <<verified, match, commit, read, committed, spent>>

Propose(s) ==
    /\ role[s] = "leader"
    /\ AppendOwn(s, Nil)
    /\ UNCHANGED <<role, verified, votes, match, commit, read, elected, committed, spent>>

\* Node s takes in what the leader of its term once sent: the entries after `prev' up to `last'.
HandleAppend(s, prev, last) ==
    LET sent == ledger[Now(s).term]
        mine == Now(s).log
        \* Only what differs replaces anything: an old message must not shorten the log.
        agrees == Max(prev, Min(Common(mine, sent), last))
        log == IF agrees = last THEN mine ELSE SubSeq(mine, 1, agrees) \o SubSeq(sent, agrees + 1, last)
    IN  /\ role[s] # "leader"
        /\ last <= Len(sent) /\ prev <= last
        /\ prev <= Len(mine) /\ TermAt(mine, prev) = TermAt(sent, prev)
        /\ last > verified[s]
        /\ verified' = [verified EXCEPT ![s] = last]
        /\ IF log = mine
           THEN UNCHANGED disk
           ELSE CanWrite(s) /\ Write(s, [Now(s) EXCEPT !.log = log])
        /\ Become(s, "follower")
        /\ UNCHANGED <<ledger, elected, committed, spent>>

\* Leader l learns how far the log of s agrees with its own and is safe.
HandleAppendReply(l, s) ==
    LET upto == Min(verified[s], SafeIndex(s))
    IN  /\ role[l] = "leader" /\ role[s] = "follower"
        /\ Now(s).term = Now(l).term
        /\ HardIsSafe(s)
        /\ upto > match[l][s]
        /\ match' = [match EXCEPT ![l][s] = upto]
        /\ UNCHANGED <<disk, role, verified, votes, commit, read, ledger, elected, committed, spent>>

(********************************* commit **********************************)

\* Leader s commits what a quorum holds. Its own copy counts only when it is safe, too.
AdvanceCommit(s) ==
    LET log == Now(s).log
        held == [match[s] EXCEPT ![s] = SafeIndex(s)]
    IN  /\ role[s] = "leader"
        /\ \E i \in commit[s] + 1..Len(log) :
            /\ IsQuorum(Config(log), {p \in Server : held[p] >= i})
            \* An entry of an earlier term could still be overwritten (Figure 8).
            /\ log[i].term = Now(s).term
            /\ commit' = [commit EXCEPT ![s] = i]
            /\ committed' = IF i > Len(committed) THEN SubSeq(log, 1, i) ELSE committed
        /\ UNCHANGED <<disk, role, verified, votes, match, read, ledger, elected, spent>>

(******************************* membership ********************************)

\* The leader has committed an entry of its term, and the newest configuration.
IsSettled(s) ==
    /\ role[s] = "leader"
    /\ commit[s] > 0
    /\ ConfigIndex(Now(s).log) <= commit[s]

\* The first step of a change of voters: both majorities rule.
Reconfigure(s, target) ==
    LET now == Config(Now(s).log)
    IN  /\ spent.changes < ChangesMax
        /\ IsSettled(s)
        /\ now.outgoing = {} /\ target # now.voters
        /\ AppendOwn(s, [voters |-> target, outgoing |-> now.voters])
        /\ spent' = [spent EXCEPT !.changes = @ + 1]
        /\ UNCHANGED <<role, verified, votes, match, commit, read, elected, committed>>

\* The second: once the first is committed, the voters so far are let go.
LeaveJoint(s) ==
    LET now == Config(Now(s).log)
    IN  /\ IsSettled(s)
        /\ now.outgoing # {}
        /\ AppendOwn(s, [now EXCEPT !.outgoing = {}])
        /\ UNCHANGED <<role, verified, votes, match, commit, read, elected, committed, spent>>

\* A leader that was removed goes once that is committed.
StepDown(s) ==
    /\ IsSettled(s)
    /\ ~IsVoter(Config(Now(s).log), s)
    /\ Become(s, "follower")
    /\ UNCHANGED <<disk, verified, ledger, elected, committed, spent>>

(********************************** read ***********************************)

\* A leader that has committed in its term notes how far, and asks whether it still leads.
AskRead(s) ==
    /\ spent.reads < ReadsMax
    /\ role[s] = "leader" /\ commit[s] > 0 /\ read[s] = Nil
    /\ read' = [read EXCEPT ![s] = [index |-> commit[s], seen |-> Len(committed), by |-> {}]]
    /\ spent' = [spent EXCEPT !.reads = @ + 1]
    /\ UNCHANGED <<disk, role, verified, votes, match, commit, ledger, elected, committed>>

\* A node of the same term says so. What it says holds for all reads asked before.
HandleBeatReply(s, from) ==
    /\ read[s] # Nil
    /\ from # s /\ from \notin read[s].by
    /\ Now(from).term = Now(s).term
    /\ HardIsSafe(from)
    /\ read' = [read EXCEPT ![s].by = @ \cup {from}]
    /\ UNCHANGED <<disk, role, verified, votes, match, commit, ledger, elected, committed, spent>>

IsConfirmed(s) == read[s] # Nil /\ IsQuorum(Config(Now(s).log), read[s].by \cup {s})

ServeRead(s) ==
    /\ IsConfirmed(s)
    /\ read' = [read EXCEPT ![s] = Nil]
    /\ UNCHANGED <<disk, role, verified, votes, match, commit, ledger, elected, committed, spent>>

(***************************************************************************)

Init ==
    /\ disk = [s \in Server |-> <<[term |-> 0, vote |-> Nil, log |-> <<>>]>>]
    /\ role = [s \in Server |-> "follower"]
    /\ verified = Zero
    /\ votes = [s \in Server |-> {}]
    /\ match = [s \in Server |-> Zero]
    /\ commit = Zero
    /\ read = [s \in Server |-> Nil]
    /\ ledger = [t \in Term |-> <<>>]
    /\ elected = [t \in Term |-> {}]
    /\ committed = <<>>
    /\ spent = [crashes |-> 0, changes |-> 0, reads |-> 0]

Next ==
    \E s \in Server :
        \/ Sync(s) \/ Crash(s)
        \/ Campaign(s) \/ Lead(s) \/ Propose(s) \/ AdvanceCommit(s)
        \/ LeaveJoint(s) \/ StepDown(s) \/ AskRead(s) \/ ServeRead(s)
        \/ \E other \in Server :
            \/ UpdateTerm(s, other) \/ HandleVote(s, other) \/ HandleVoteReply(s, other)
            \/ HandleAppendReply(s, other) \/ HandleBeatReply(s, other)
        \/ \E target \in SUBSET Server \ {{}} : Reconfigure(s, target)
        \/ \E prev, last \in 0..EntriesMax : Now(s).term > 0 /\ HandleAppend(s, prev, last)

Spec == Init /\ [][Next]_vars

(******************************* properties ********************************)

\* Figure 3. At most one leader can be elected in a term.
ElectionSafety == \A t \in Term : Cardinality(elected[t]) <= 1

\* A leader never overwrites or deletes entries in its log; it only appends.
LeaderAppendOnly ==
    [][\A s \in Server :
        role[s] = "leader" /\ role'[s] = "leader" => IsPrefix(Now(s).log, Now(s)'.log)]_vars

\* Two logs with an entry of the same term at an index are the same up to it.
LogMatching ==
    \A a, b \in Server :
        LET x == Now(a).log
            y == Now(b).log
        IN  \A i \in 1..Min(Len(x), Len(y)) :
                x[i].term = y[i].term => SubSeq(x, 1, i) = SubSeq(y, 1, i)

\* What is committed is in the log of every leader of a later term.
LeaderCompleteness ==
    \A s \in Server :
        role[s] = "leader" /\ Now(s).term >= LastTerm(committed) => IsPrefix(committed, Now(s).log)

\* All nodes apply the same: what is committed is only ever added to, and leaders agree on it.
StateMachineSafety ==
    /\ [][IsPrefix(committed, committed')]_vars
    /\ [](\A s \in Server : IsPrefix(SubSeq(Now(s).log, 1, commit[s]), committed))

\* At the moment an entry is committed, a quorum would still hold it after a power cut everywhere.
DurableQuorum ==
    [][committed' # committed =>
        IsQuorum(Config(committed'), {s \in Server : IsPrefix(committed', Durable(s).log)})
       \/ \E s \in Server : role[s] = "leader" /\
            IsQuorum(Config(Now(s).log), {p \in Server : IsPrefix(committed', Durable(p).log)})]_vars

\* Each committed configuration is a legal step from the one before.
ConfigChain ==
    \A i \in 1..Len(committed) : committed[i].config # Nil =>
        LET was == Config(SubSeq(committed, 1, i - 1))
            is == committed[i].config
        IN  IF was.outgoing = {} THEN is.outgoing = was.voters ELSE is = [was EXCEPT !.outgoing = {}]

\* A read that a quorum has confirmed sees all that was committed before it was asked.
LinearizableReads == \A s \in Server : IsConfirmed(s) => read[s].index >= read[s].seen

=============================================================================
