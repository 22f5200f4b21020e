---- MODULE MCRaftAbstract ----
\* What TLC needs beside the algorithm: which nodes may change their names without anybody's notice,
\* and a beginning from which it sees further.
EXTENDS RaftAbstractLive, TLC

Symmetry == {p \in Permutations(Server) :
    \A who \in {FirstVoters, FirstLearners, MayLearn} : {p[s] : s \in who} = who}

\* A leader is in office, and its first entry is committed and everywhere.
Settled ==
    \E l \in FirstVoters :
        LET entry == [term |-> 1, body |-> Nil]
            image == [term |-> 1, vote |-> l, log |-> <<entry>>, life |-> 0]
            matched == [p \in Server |-> IF p \in FirstVoters \ {l} THEN 1 ELSE 0]
        IN  /\ disk = [s \in Server |-> IF s \in FirstVoters THEN <<image>>
                ELSE <<[term |-> 0, vote |-> Nil, log |-> <<>>, life |-> 0]>>]
            /\ file = [s \in Server |-> <<>>]
            /\ mind = [s \in Server |->
                IF s = l THEN [Fresh("leader", 0) EXCEPT !.match = matched, !.commit = 1]
                ELSE Fresh("follower", IF s \in FirstVoters THEN 1 ELSE 0)]
            /\ clock = [s \in Server |-> [promise |-> 0, lag |-> 0]]
            /\ said = [t \in Term |->
                [log |-> IF t = 1 THEN <<entry>> ELSE <<>>, commit |-> IF t = 1 THEN 1 ELSE 0, to |-> {}]]
            /\ witness = [elected |-> [t \in Term |-> IF t = 1 THEN {<<l, 0>>} ELSE {}],
                          committed |-> <<entry>>]
            /\ spent = [crashes |-> 0, changes |-> 0, reads |-> 0, snapshots |-> 0, ticks |-> 0,
                        transfers |-> 0, wipes |-> 0, rots |-> 0]

SettledSpec == Settled /\ [][Next]_vars
====
