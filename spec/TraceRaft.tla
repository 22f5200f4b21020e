------------------------------ MODULE TraceRaft ------------------------------
(***************************************************************************)
(* Whether what real nodes did is a behaviour of `Raft'.                   *)
(*                                                                         *)
(* `TraceData' is made from a trace (docs/trace.md).  One event is one     *)
(* step: the action of `Raft' that its kind names has to be possible, and  *)
(* must lead to the very state that the node was in then, with the very    *)
(* messages, writes and outcomes that it wanted.                           *)
(*                                                                         *)
(* The wire is not a set here, which would grow: that a message was sent   *)
(* is read off the trace, which names the event that sent it.  Beside what *)
(* `Raft' has there is `box', what the driver of a node has been given to  *)
(* send and has not sent yet.                                              *)
(*                                                                         *)
(* Several traces are walked at once; `tr' says which.  One that begins    *)
(* like another leaves it where it is different.  Nothing but the place in *)
(* the trace tells states apart: what a step leads to is logged so fully   *)
(* that there is one state for each place.                                 *)
(***************************************************************************)
EXTENDS Raft, TraceData, TLC

CONSTANT ExplainAt  \* the place whose candidates are told; 0 if none

VARIABLES
    tr, i,  \* the trace, and the place in it
    box,    \* [Server -> Seq([to, m])]: what is to be sent; m by number
    upto    \* [Server -> Nat]: the last durable write, by number

\* A walk is [of, from, events, forks, voters, leases]: from the place `from' on it has events of its
\* own, before it those of the walk `of'; `forks' says where which others leave it.
EventAt(t, k) ==
    IF k < Walks[t].from THEN Walks[Walks[t].of].events[k]
    ELSE Walks[t].events[k - Walks[t].from + 1]
End(t) == Walks[t].from + Len(Walks[t].events)

E == EventAt(tr, i)
Post == States[E.post]

(************************* what an event says ******************************)

PostPeers == Post.peers
PostPeer(p) == PostPeers[CHOOSE k \in DOMAIN PostPeers : PostPeers[k].p = p]
IsPostPeer(p) == \E k \in DOMAIN PostPeers : PostPeers[k].p = p

\* That a node repeats what it has heard another say is outside of `Raft'.
Addressed(all) == {[to |-> all[k][1], m |-> Messages[all[k][2]]] : k \in DOMAIN all}
Out == {o \in Addressed(E.out) : o.m.type # "heard"}

PeersOf(n) ==
    /\ Cardinality(DOMAIN n.peers) = Len(PostPeers)
    /\ \A k \in DOMAIN PostPeers :
        LET is == PostPeers[k]
        IN  is.p \in DOMAIN n.peers /\ n.peers[is.p] =
                [matched |-> is.matched, next |-> is.next, probing |-> is.probing,
                 flight |-> is.flight, sent |-> is.sent, round |-> is.round, ready |-> is.ready]

IsPost(n) ==
    /\ n.role = Post.role /\ n.term = Post.term /\ n.vote = Post.vote /\ n.leader = Post.leader
    /\ Last(n) = Post.last /\ LastTerm(n) = Post.lastTerm
    /\ n.base = Post.base /\ n.baseTerm = Post.baseTerm
    /\ Durable(n) = Post.durable /\ n.commit = Post.commit /\ n.verified = Post.verified
    /\ n.transfer = Post.transfer /\ n.urged = Post.urged
    /\ Current(n) = Configs[Post.config]
    /\ n.waiting = Addressed(Post.waiting)
    /\ Cardinality(DOMAIN n.met) = Len(Post.met)
    /\ \A k \in DOMAIN Post.met : Met(n, Post.met[k][1]) = Post.met[k][2]
    /\ PeersOf(n)

\* The writes of the step are the last ones under way, with the numbers that follow.
IsWritten(s, n) ==
    LET count == Len(E.writes)
        before == Len(n.queue) - count
    IN  \* Those that were under way before, but for what they vouch for.
        /\ E.kind \notin {"start", "persisted"} => before = Len(node[s].queue)
        /\ E.kind = "persisted" => before = Len(node[s].queue) - (E.write - upto[s])
        /\ \A k \in 1..count :
            LET is == Writes[E.writes[k][2]]
                w == n.queue[before + k]
            IN  /\ E.writes[k][1] = (IF E.kind = "persisted" THEN E.write ELSE upto[s]) + before + k
                /\ w.kind = is.kind /\ w.term = is.term /\ w.vote = is.vote
                /\ w.kind # "same" => w.prev = is.prev /\ w.terms = is.terms
                /\ w.kind \in {"append", "replace", "repair"} => w.configs = is.configs

Told(n) == n.told = {E.told[k] : k \in DOMAIN E.told}

\* For whoever counts; of a step that is refused after all, it says nothing.
DidHere(what) == PrintT(<<"did", tr, i, what>>)

Explain(s, n) ==
    i = ExplainAt =>
        PrintT(<<"candidate", IsPost(n), n.out = Out, IsWritten(s, n), Told(n),
            [n EXCEPT !.log = Len(@), !.queue = Len(@), !.first = 0, !.configs = Position(n)],
            Post, Out, E.told>>)

TraceTake(s, n) ==
    /\ Explain(s, n)
    /\ IsPost(n)
    /\ n.out = Out
    /\ IsWritten(s, n)
    /\ Told(n)
    /\ \A what \in n.did : DidHere(what)
    /\ node' = [node EXCEPT ![s] = [n EXCEPT !.out = {}, !.told = {}, !.did = {}]]
    /\ UNCHANGED net

\* A frame that arrives was sent: the event that sent it stands earlier in the trace.
TraceIsSent(from, to, m) ==
    /\ E.sent \in 1..i - 1
    /\ LET sender == EventAt(tr, E.sent)
       IN  sender.kind = "send" /\ sender.s = from /\ sender.to = to /\ Messages[sender.m] = m

(********* what time decided is read off what came of it, not tried ********)

TraceSilent(n) ==
    {{p \in DOMAIN n.peers \ Members(Current(n)) : ~IsPostPeer(p)}}
TraceUnanswered(n) ==
    {{p \in DOMAIN n.peers : n.peers[p].flight # <<>> /\ IsPostPeer(p)
        /\ PostPeer(p).flight = <<>>}}
TraceAskedAgain(n) ==
    {{a \in n.asks : \E o \in Out : o.m.type = "read-ask" /\ o.m.id = a.id}}
TraceBases(d) == {Post.base}
TraceHints(d) == {Post.commit} \cap 0..Max(d.snap, d.hint)
TraceFirstVoters(x) == Walks[tr].voters
TraceLeasesOn(n) == Walks[tr].leases
TraceFirstDisk(s) == Nil

(******************************** the steps ********************************)

\* A turn's messages leave after its calls, and all of them before the next turn.
Boxed(s) ==
    LET sends == [k \in DOMAIN E.out |-> [to |-> E.out[k][1], m |-> E.out[k][2]]]
        \* What was said to a peer before another end of it was met is not sent.
        kept == IF E.kind = "met" THEN SelectSeq(box[s], LAMBDA b : b.to # E.peer) ELSE box[s]
    IN  /\ E.fresh => box[s] = <<>>
        /\ box' = [box EXCEPT ![s] = kept \o sends]

Call(s) ==
    CASE E.kind = "receive" -> Receive(s, E.from, Messages[E.m])
      [] E.kind = "deadline" -> Deadline(s)
      [] E.kind = "persisted" -> Persisted(s, E.write - upto[s])
      [] E.kind = "link" -> Link(s, E.peer, E.up)
      [] E.kind = "met" -> Meet(s, E.peer, E.disk)
      [] E.kind = "propose" -> Propose(s, E.count)
      [] E.kind = "reconfigure" -> Reconfigure(s, Configs[E.config])
      [] E.kind = "transfer" -> Transfer(s, E.to)
      [] E.kind = "read" -> Read(s, E.id, E.level)
      [] E.kind = "sent" -> SendAppend(s, E.to, E.upto)
      [] E.kind = "end-turn" -> FinishTurn(s)
      [] E.kind = "compacted" -> TermAt(node[s], E.base) = E.baseTerm /\ Compact(s, E.base)
      [] E.kind = "installed" -> Install(s, Snapshot(E.base, E.baseTerm, Configs[E.config]))

\* What the core gave leaves in its order; a snapshot's pieces are the driver's own affair.
Sends(s) ==
    LET m == Messages[E.m]
    IN  IF m.type # "snapshot"
        THEN /\ box[s] # <<>> /\ Head(box[s]) = [to |-> E.to, m |-> E.m]
             /\ box' = [box EXCEPT ![s] = Tail(@)]
        ELSE /\ \E made \in snaps : made.base = m.base /\ made.baseTerm = m.baseTerm
             /\ m.base <= disk[s].snap
             /\ m.term <= node[s].term
             /\ m.term = node[s].term => node[s].role = "leader"
             /\ UNCHANGED box
             /\ DidHere("SendSnapshot")

\* A snapshot is found to be durable: an own one, or one that another made.
Snaps(s) ==
    LET snapshot == Snapshot(E.base, E.baseTerm, Configs[E.config])
    IN  IF E.base = disk[s].snap \/ (E.base < disk[s].snap /\ E.kind # "found")
        THEN UNCHANGED vars
        ELSE IF E.base < disk[s].snap THEN LoseSnapshot(s, snapshot) /\ DidHere("LoseSnapshot")
        ELSE IF snapshot \in snaps THEN ReceiveSnapshot(s, snapshot) /\ DidHere("ReceiveSnapshot")
        ELSE TermAt(node[s], E.base) = E.baseTerm /\ ConfigAt(node[s], E.base) = snapshot.config
             /\ TakeSnapshot(s, E.base) /\ DidHere("TakeSnapshot")

\* A node starts: it must find what it was told to be durable, and may find more that it wrote. To
\* begin a void log anew takes a write.
Starts(s) ==
    /\ IF E.disk = disk[s].name
       THEN \E mending \in {0, 1} :
            LET kept == E.write - upto[s] - mending
            IN  /\ kept \in 0..Len(node[s].queue)
                /\ (IF mending = 1 THEN IsVoid(WrittenAll(disk[s], node[s].queue, kept)) ELSE TRUE)
                /\ Restart(s, kept, E.life, E.lost, E.hiding) /\ DidHere("Restart")
                /\ (IF E.lost = {} THEN TRUE ELSE DidHere("Restart, with gaps"))
       ELSE /\ (IF disk[s].name = Nil THEN TRUE ELSE DidHere("LoseDisk"))
            /\ LoseDisk(s, E.disk, Configs[E.first], E.life)
    /\ node'[s].log = E.log
    /\ node'[s].configs = E.configs
    /\ node'[s].first = Configs[E.first]
    /\ upto' = [upto EXCEPT ![s] = E.write]

TraceInit ==
    /\ tr \in {t \in DOMAIN Walks : Walks[t].of = t}
    /\ i = 1
    /\ Init
    /\ box = [s \in Server |-> <<>>]
    /\ upto = [s \in Server |-> 0]

TraceStep ==
    /\ i < End(tr)
    /\ i' = i + 1
    /\ UNCHANGED tr
    /\ CASE E.kind = "send" -> Sends(E.s) /\ UNCHANGED <<vars, upto>>
         [] E.kind \in {"taken", "loaded", "found"} -> Snaps(E.s) /\ UNCHANGED <<box, upto>>
         [] E.kind = "crash" ->
                box' = [box EXCEPT ![E.s] = <<>>] /\ UNCHANGED <<vars, upto>>
         [] E.kind = "start" -> Starts(E.s) /\ box' = [box EXCEPT ![E.s] = <<>>]
         [] OTHER ->
                /\ Call(E.s) /\ Boxed(E.s)
                /\ upto' = IF E.kind = "persisted" THEN [upto EXCEPT ![E.s] = E.write] ELSE upto
    /\ PrintT(<<"walked", tr, i>>)

\* Another trace goes on from here.
TraceFork ==
    /\ i \in DOMAIN Walks[tr].forks
    /\ tr' \in Walks[tr].forks[i]
    /\ PrintT(<<"walked", tr', i - 1>>)
    /\ UNCHANGED <<vars, i, box, upto>>

TraceNext == TraceStep \/ TraceFork

Place == <<tr, i>>

=============================================================================
