-------------------------- MODULE RaftAbstractTime --------------------------
(***************************************************************************)
(* What time adds: leases, which trust clocks that keep within a bound,    *)
(* and handing leadership over, which breaks the promises behind them.     *)
(*                                                                         *)
(* Clocks tick together, but for those that are slow: each misses so many  *)
(* ticks as two clocks may come apart, and no more, for the time told here *)
(* is no longer than a promise or two.                                     *)
(*                                                                         *)
(* Source: dissertation, 3.10, 6.4.1; rule R7                              *)
(***************************************************************************)
EXTENDS RaftAbstractWords

(********************************** lease **********************************)

\* A lease is the promise less what clocks may come apart.
LeaseTicks == PromiseTicks - DriftTicks

Less(n, by) == IF n > by THEN n - by ELSE 0

\* Time passes, but for those who are slow.
Tick(slow) ==
    /\ spent.ticks < TicksMax
    /\ \A s \in slow : clock[s].lag < DriftTicks
    /\ spent' = [spent EXCEPT !.ticks = @ + 1]
    /\ clock' = [s \in Server |->
            IF s \in slow THEN [clock[s] EXCEPT !.lag = @ + 1]
            ELSE [clock[s] EXCEPT !.promise = Less(@, 1)]]
    /\ mind' = [s \in Server |->
            IF s \in slow THEN mind[s]
            ELSE [mind[s] EXCEPT
                    !.left = Less(@, 1),
                    !.heard = [p \in Server |-> Less(@[p], 1)],
                    !.lent = [p \in Server |-> Less(@[p], 1)]]]
    /\ UNCHANGED <<disk, file, said, witness>>

\* A leader that has committed in its term sends a round of heartbeats. It is the only one on its
\* way: an earlier one would be worth less and cause the same promise.
Beat(s) ==
    /\ PromiseTicks > 0
    /\ Role(s) = "leader" /\ mind[s].commit > 0 /\ ~mind[s].void
    /\ mind[s].left < LeaseTicks
    /\ mind' = [mind EXCEPT ![s].left = LeaseTicks]
    /\ UNCHANGED <<disk, file, clock, said, witness, spent>>

\* Voter v hears leader l, and promises to elect nobody for a while.
HandleBeat(v, l) ==
    /\ Role(l) = "leader" /\ v # l
    /\ Now(v).term = Now(l).term
    /\ mind[l].left > 0
    /\ mind[l].heard[v] < mind[l].left \/ clock[v].promise < PromiseTicks
    /\ clock' = [clock EXCEPT ![v].promise = PromiseTicks]
    /\ mind' = [mind EXCEPT ![l].heard[v] = mind[l].left]
    /\ UNCHANGED <<disk, file, said, witness, spent>>

\* Leader l learns of that promise, which counts from when the round was sent.
HandlePromise(l, v) ==
    /\ Role(l) = "leader"
    /\ mind[l].heard[v] > mind[l].lent[v]
    /\ Now(v).term = Now(l).term
    /\ HardIsSafe(v)
    /\ mind' = [mind EXCEPT ![l].lent[v] = mind[l].heard[v]]
    /\ UNCHANGED <<disk, file, clock, said, witness, spent>>

HasLease(s) ==
    /\ Role(s) = "leader" /\ mind[s].commit > 0
    /\ ~mind[s].void
    /\ PromiseTicks > 0
    /\ IsQuorum(Config(s), {v \in Server : mind[s].lent[v] > 0} \cup {s})

(******************************** transfer *********************************)

\* Leader l tells p, which holds its whole log durably, to take over. The word may be heard late,
\* and breaks the voters' promises: so there is no lease any more in this term.
TimeoutNow(l, p) ==
    /\ spent.transfers < TransfersMax
    /\ spent' = [spent EXCEPT !.transfers = @ + 1]
    /\ Role(l) = "leader" /\ p # l
    /\ p \in Config(l).voters
    /\ mind[l].match[p] = Len(Now(l).log)
    /\ said' = [said EXCEPT ![Now(l).term].to = @ \cup {p}]
    /\ mind' = [mind EXCEPT ![l].void = TRUE]
    /\ UNCHANGED <<disk, file, clock, witness>>

\* Node s heard that word: it stands at once, and whoever it asks knows why.
TakeOver(s) ==
    /\ Now(s).term > 0
    /\ s \in said[Now(s).term].to
    /\ Role(s) = "follower"
    /\ Stand(s, TRUE)
    /\ UNCHANGED <<file, clock, said, witness, spent>>
=============================================================================
