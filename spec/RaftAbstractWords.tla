------------------------- MODULE RaftAbstractWords -------------------------
(***************************************************************************)
(* What RaftAbstract is told in: its bounds, its state, and the words that *)
(* all rooms use.  Nothing happens here.                                   *)
(*                                                                         *)
(* A node's disk is a queue of images.  The first is durable; the last is  *)
(* what the node believes; a crash leaves the first alone.  Nothing may be *)
(* said that rests on more than the first.  Beside it lies the file of a   *)
(* snapshot, which stands for the beginning of the log.                    *)
(*                                                                         *)
(* Logs are written out in full here, though a node with a snapshot has    *)
(* forgotten the beginning: what it may no longer look at, no action looks *)
(* at.                                                                     *)
(*                                                                         *)
(* Source: Ongaro and Ousterhout, Figure 2; rules R1, R2, R6, R8, R13      *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    Server,         \* all nodes, members or not
    Nil,            \* no vote, no configuration, no read, a disk without a name
    Damaged,        \* what is left of an entry that cannot be read
    FirstVoters,    \* who votes at the beginning
    FirstLearners,  \* who learns then, and is to vote
    MayLearn,       \* whom a change of members may make a learner
    TermsMax,       \* no node stands for a later term
    EntriesMax,     \* no leader appends beyond this index
    WritesMax,      \* how many writes of a node may be under way; 0: they take no time
    PromiseTicks,   \* how long a voter's promise lasts by its own clock; 0 without leases
    DriftTicks,     \* how far two clocks may come apart
    \* How many there are in all, of:
    CrashesMax,     \* crashes
    ChangesMax,     \* changes of members asked for
    ReadsMax,       \* reads asked for
    SnapshotsMax,   \* snapshots taken or received
    TicksMax,       \* ticks of the clocks
    TransfersMax,   \* words to take over
    WipesMax,       \* disks replaced by empty ones
    RotsMax         \* entries damaged on a disk

VARIABLES
    disk,       \* [Server -> Seq(image)], the first durable, the last believed
    file,       \* [Server -> Seq(entry)]: what the snapshot covers that is durable
    mind,       \* [Server -> ...]: what the process knows, and a crash takes away
    clock,      \* [Server -> [promise, lag]]: how long the promise lasts; how slow it was so far
    said,       \* [Term -> ...]: what the leader of a term has ever said; it may be heard late
    witness,    \* what nobody knows: who was elected in each term, the longest log committed
    spent       \* how many crashes, changes, reads, ... there have been

vars == <<disk, file, mind, clock, said, witness, spent>>

Term == 1..TermsMax
Zero == [s \in Server |-> 0]
Max(a, b) == IF a > b THEN a ELSE b
Min(a, b) == IF a < b THEN a ELSE b

(******************************* types, log ********************************)

\* An entry is [term, body]. The body is a command (Nil), a configuration, or Damaged.
Now(s) == disk[s][Len(disk[s])]

TermAt(log, i) == IF i = 0 THEN 0 ELSE log[i].term
LastTerm(log) == TermAt(log, Len(log))
IsPrefix(a, b) == Len(a) <= Len(b) /\ SubSeq(b, 1, Len(a)) = a

\* The longest beginning that two logs share.
Common(a, b) ==
    CHOOSE i \in 0..Min(Len(a), Len(b)) :
        /\ \A j \in 1..i : a[j] = b[j]
        /\ i < Min(Len(a), Len(b)) => a[i + 1] # b[i + 1]

\* The longest beginning in which they have the same identifiers, which damage leaves alone.
Agree(a, b) ==
    CHOOSE i \in 0..Min(Len(a), Len(b)) :
        /\ \A j \in 1..i : a[j].term = b[j].term
        /\ i < Min(Len(a), Len(b)) => a[i + 1].term # b[i + 1].term
Has(log, beginning) == Agree(log, beginning) = Len(beginning)

\* How far a log can be read.
Intact(log) ==
    CHOOSE i \in 0..Len(log) :
        /\ \A j \in 1..i : log[j].body # Damaged
        /\ i < Len(log) => log[i + 1].body = Damaged

\* A log of an older term may lack what is committed, however long: so terms compare first.
UpToDate(log, other) ==
    \/ LastTerm(log) > LastTerm(other)
    \/ LastTerm(log) = LastTerm(other) /\ Len(log) >= Len(other)

(***************************** configuration *******************************)

\* `disks' names the disk of each member, by its life; Nil until it has been met.
FirstConfig ==
    [voters |-> FirstVoters, outgoing |-> {}, learners |-> FirstLearners, disks |-> Zero]

\* The index of the newest configuration in a log: in force as soon as it is there.
ConfigIndex(log) ==
    LET with == {i \in 1..Len(log) : log[i].body \notin {Nil, Damaged}}
    IN  IF with = {} THEN 0 ELSE CHOOSE i \in with : \A j \in with : j <= i
ConfigIn(log) == LET i == ConfigIndex(log) IN IF i = 0 THEN FirstConfig ELSE log[i].body

\* Of node s. One that was wiped and started anew knows at first nobody's disk. Where it was the only
\* voter once, whoever starts it must not tell it that it still is (docs/divergence.md).
Config(s) ==
    IF Now(s).life > 0 /\ ConfigIndex(Now(s).log) = 0
    THEN [FirstConfig EXCEPT
            !.voters = IF @ = {s} THEN {} ELSE @,
            !.disks = [p \in Server |-> Nil]]
    ELSE ConfigIn(Now(s).log)

Members(config) == config.voters \cup config.outgoing \cup config.learners
IsVoter(config, s) == s \in config.voters \cup config.outgoing
Majority(of, who) == 2 * Cardinality(of \cap who) > Cardinality(of)

\* Whether the disk of node p is the member's, as far as s knows (rule R13).
IsMembers(s, p) == Config(s).disks[p] \in {Nil, Now(p).life}

(********************************* quorum **********************************)

\* A change of voters needs both majorities.
IsQuorum(config, who) ==
    /\ Majority(config.voters, who)
    /\ config.outgoing # {} => Majority(config.outgoing, who)

\* No majority of either side can have what these lack.
Blocks(config, who) ==
    /\ ~Majority(config.voters, config.voters \ who)
    /\ config.outgoing # {} => ~Majority(config.outgoing, config.outgoing \ who)

(********************************* durable *********************************)

\* What a node begins with that starts now. A log that lacks what the snapshot covers is void, and
\* a snapshot vouches for its term.
Recovered(s) ==
    LET d == disk[s][1]
        rest == IF Has(d.log, file[s]) THEN SubSeq(d.log, Len(file[s]) + 1, Len(d.log)) ELSE <<>>
        later == LastTerm(file[s]) > d.term
    IN  [d EXCEPT !.log = file[s] \o rest,
                  !.term = IF later THEN LastTerm(file[s]) ELSE @,
                  !.vote = IF later THEN Nil ELSE @]

\* The latest term and vote are safe: what promises them may be said.
HardIsSafe(s) ==
    \A i \in DOMAIN disk[s] : disk[s][i].term = Now(s).term /\ disk[s][i].vote = Now(s).vote

\* The end of the log that is safe: what no crash can take away, and can be read.
RECURSIVE SafeIn(_, _)
SafeIn(images, log) ==
    IF images = <<>> THEN Len(log)
    ELSE Min(Common(Head(images).log, log), SafeIn(Tail(images), log))
SafeIndex(s) ==
    LET covered == IF Has(Now(s).log, file[s]) THEN Len(file[s]) ELSE 0
    IN  Max(covered, Min(SafeIn(disk[s], Now(s).log), Intact(Now(s).log)))

\* Node s writes what it believes from now on. Where none may be under way, it is durable at once.
CanWrite(s) == WritesMax = 0 \/ Len(disk[s]) <= WritesMax
Write(s, image) ==
    disk' = [disk EXCEPT ![s] = IF WritesMax = 0 THEN <<image>> ELSE Append(@, image)]

(********************************** role ***********************************)

Role(s) == mind[s].role

\* A process that has counted nothing yet, in this role.
Fresh(role, verified) == [
    role |-> role,
    verified |-> verified,      \* up to here the log agrees with that of the term's leader
    favoured |-> FALSE,         \* a candidate whom the leader told to stand
    votes |-> {},               \* the votes a candidate has counted
    match |-> Zero,             \* what each node has acknowledged to a leader
    commit |-> 0,               \* what a leader has committed in its term
    read |-> Nil,               \* a leader's read under way: [index, seen, by]
    \* A leader's lease: how long a round that leaves now is worth something; who heard a round,
    \* and who answered, each with how long that is worth something; whether all that is void.
    left |-> 0, heard |-> Zero, lent |-> Zero, void |-> FALSE]

Become(s, role, verified) == mind' = [mind EXCEPT ![s] = Fresh(role, verified)]

(******************************** election *********************************)

\* A node that lost its member's disk does not stand: the vote that it has there is that disk's.
\* One whose removal may not be committed yet may be needed (dissertation, 4.2.2).
MayStand(s) ==
    LET log == Now(s).log
        before == ConfigIn(SubSeq(log, 1, Max(ConfigIndex(log), 1) - 1))
    IN  /\ Config(s).disks[s] \in {Nil, Now(s).life}
        /\ IsVoter(Config(s), s) \/ (ConfigIndex(log) > 0 /\ IsVoter(before, s))

\* Node s stands in the next term and votes for itself.
Stand(s, favoured) ==
    /\ Role(s) # "leader"
    /\ Now(s).term < TermsMax
    /\ MayStand(s)
    /\ CanWrite(s)
    /\ Write(s, [Now(s) EXCEPT !.term = @ + 1, !.vote = s])
    /\ mind' = [mind EXCEPT ![s] = [Fresh("candidate", 0) EXCEPT !.favoured = favoured]]

\* A quorum has voted for the candidate.
HasWon(s) == Role(s) = "candidate" /\ IsQuorum(Config(s), mind[s].votes)
=============================================================================
