-------------------------- MODULE RaftAbstractDisk --------------------------
(***************************************************************************)
(* What happens to disks beside lost writes: snapshots, which stand for    *)
(* the beginning of a log; disks that are replaced by empty ones; entries  *)
(* that cannot be read any more, and how they are mended.                  *)
(*                                                                         *)
(* Source: Ongaro and Ousterhout, Figure 13; rule R13; Alagappan et al.,   *)
(* "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18          *)
(***************************************************************************)
EXTENDS RaftAbstractWords

(********************************* durable *********************************)

\* The process of node s begins anew, with this image on its disk.
Restart(s, image) ==
    /\ disk' = [disk EXCEPT ![s] = <<image>>]
    \* If the last entry is of this very term, its leader made it: so the whole log agrees with it.
    /\ Become(s, "follower", IF LastTerm(image.log) = image.term THEN Len(image.log) ELSE 0)
    \* What the life before promised is kept; who has never heard of a term has promised nothing.
    /\ clock' = [clock EXCEPT ![s].promise = IF image.term > 0 THEN PromiseTicks ELSE 0]

(******************************** snapshot *********************************)

\* A snapshot of what node s knows to be committed is durable. Whoever leads has told that, and
\* what it told counts as far as the log is known to agree.
Compact(s) ==
    LET known == IF Now(s).term = 0 THEN 0 ELSE said[Now(s).term].commit
        upto == IF Role(s) = "leader" THEN mind[s].commit ELSE Min(known, mind[s].verified)
    IN  /\ spent.snapshots < SnapshotsMax
        /\ spent' = [spent EXCEPT !.snapshots = @ + 1]
        /\ upto > Len(file[s]) /\ upto <= Intact(Now(s).log)
        /\ file' = [file EXCEPT ![s] = SubSeq(Now(s).log, 1, upto)]
        /\ UNCHANGED <<disk, mind, clock, said, witness>>

\* The snapshot of leader l has come to s, whole, and is durable. The log knows nothing of it yet.
HandleSnapshot(s, l) ==
    /\ spent.snapshots < SnapshotsMax
    /\ spent' = [spent EXCEPT !.snapshots = @ + 1]
    /\ Role(l) = "leader" /\ Role(s) # "leader"
    /\ Now(s).term = Now(l).term
    /\ Len(file[l]) > Len(file[s])
    /\ file' = [file EXCEPT ![s] = file[l]]
    /\ UNCHANGED <<disk, mind, clock, said, witness>>

\* It is loaded: a log that lacks what it covers begins anew after it.
Install(s) ==
    LET log == IF Has(Now(s).log, file[s]) THEN Now(s).log ELSE file[s]
    IN  /\ Role(s) # "leader" /\ file[s] # <<>>
        /\ Len(file[s]) > mind[s].verified \/ log # Now(s).log
        /\ IF log = Now(s).log THEN UNCHANGED disk
           ELSE CanWrite(s) /\ Write(s, [Now(s) EXCEPT !.log = log])
        \* What is committed agrees with the log of any leader.
        /\ mind' = [mind EXCEPT ![s].verified = Max(@, Len(file[s]))]
        /\ UNCHANGED <<file, clock, said, witness, spent>>

(******************************* membership ********************************)

\* Whether voter v hears candidate c: if its disk is the member's, or if its own configuration says
\* so and v may have missed that.
IsHeard(v, c) ==
    \/ IsMembers(v, c)
    \/ /\ Config(c).disks[c] = Now(c).life
       /\ Now(c).term > TermAt(Now(v).log, ConfigIndex(Now(v).log))

\* The disk of node s is lost, and an empty one put in its place. With it no majority is lost that
\* anybody knows of; and an operator does that before the node is added again and not after, while its
\* disk has no name yet.
Wipe(s) ==
    /\ spent.wipes < WipesMax
    /\ spent' = [spent EXCEPT !.wipes = @ + 1]
    /\ \A p \in Server \ {s} : s \in Members(Config(p)) =>
        /\ Config(p).disks[s] # Nil
        /\ IsQuorum(Config(p), {v \in Server \ {s} : IsMembers(p, v)})
    /\ disk' = [disk EXCEPT ![s] =
            <<[term |-> 0, vote |-> Nil, log |-> <<>>, life |-> Now(s).life + 1]>>]
    /\ file' = [file EXCEPT ![s] = <<>>]
    /\ Become(s, "follower", 0)
    /\ clock' = [clock EXCEPT ![s].promise = 0]
    /\ UNCHANGED <<said, witness>>

(********************************* repair **********************************)

\* A durable entry of node s cannot be read any more. That is found when the process starts; the
\* identifier, which lies elsewhere, tells it from a write that was torn by a crash.
Rot(s, i) ==
    LET image == Recovered(s)
    IN  /\ spent.rots < RotsMax
        /\ spent' = [spent EXCEPT !.rots = @ + 1]
        /\ i > Len(file[s]) /\ i <= Len(image.log)
        /\ image.log[i].body = Nil
        /\ Restart(s, [image EXCEPT !.log[i].body = Damaged])
        /\ UNCHANGED <<file, said, witness>>

\* The first entry that node s cannot read, and whether node p has one of the same identifier.
FirstDamaged(s) == Intact(Now(s).log) + 1
IsNamedBy(s, p, i) == Len(Now(p).log) >= i /\ Now(p).log[i].term = Now(s).log[i].term

\* Node s asks all: "do you have this entry?" Node p has it, and since no two entries share an
\* identifier it does not matter who that is, or when.
Mend(s, p) ==
    LET i == FirstDamaged(s)
    IN  /\ spent.rots > 0 /\ i <= Len(Now(s).log)
        /\ IsNamedBy(s, p, i) /\ Now(p).log[i].body # Damaged
        /\ CanWrite(s)
        /\ Write(s, [Now(s) EXCEPT !.log[i] = Now(p).log[i]])
        /\ UNCHANGED <<file, mind, clock, said, witness, spent>>

\* Candidate s is elected by identifiers, and so many say that they lack the entry that no majority
\* can have it: so it was never committed, and the log ends before it. They say so in the candidate's
\* term, in which no earlier leader can bring it to them any more. Who has the entry and cannot read it
\* either does not say so; nor does a disk count that is not its member's.
Discard(s) ==
    LET i == FirstDamaged(s)
        lack == {p \in Server :
            /\ Now(p).term = Now(s).term /\ HardIsSafe(p) /\ IsMembers(s, p)
            /\ ~IsNamedBy(s, p, i)}
    IN  /\ spent.rots > 0 /\ HasWon(s) /\ i <= Len(Now(s).log)
        /\ Blocks(Config(s), lack)
        /\ CanWrite(s)
        /\ Write(s, [Now(s) EXCEPT !.log = SubSeq(@, 1, i - 1)])
        /\ UNCHANGED <<file, mind, clock, said, witness, spent>>
=============================================================================
