-------------------------- MODULE RaftAbstractLive --------------------------
(***************************************************************************)
(* What must happen at last, if nodes do what they can, and if time is     *)
(* kind: the paper asks of timing (5.6) that messages and disks are much   *)
(* faster than patience.  Here that is so in the last term.  Before it     *)
(* nodes may stand whenever they like, and fail; in it one alone stands,   *)
(* whose log is as good as any, and nothing breaks any more.               *)
(*                                                                         *)
(* Every bound is an end: terms do not decrease, nor does what is spent,   *)
(* and within a term logs grow towards the leader's.  So no behaviour goes *)
(* in circles, and to go on as long as anything can happen is all the      *)
(* fairness there need be.                                                 *)
(*                                                                         *)
(* Source: Ongaro and Ousterhout, 5.6; dissertation, 3.9, 4.2.2            *)
(***************************************************************************)
EXTENDS RaftAbstract

(******************************** behaviour ********************************)

IsLastTerm == \E s \in Server : Now(s).term = TermsMax

\* Only one stands in the last term, with a log that gets all votes, and not before all that is on
\* its way has arrived.
IsTimely ==
    \A s \in Server :
        Now(s).term < TermsMax /\ Now(s)'.term = TermsMax /\ Now(s)'.vote = s =>
            /\ ~IsLastTerm
            /\ \A p \in Server : UpToDate(Now(s).log, Now(p).log)
            /\ ~ENABLED Follow

\* Commands are left out: they would fill the log, whose end is a bound and not a fact. Once there is
\* a later term, nobody asks a leader of an earlier one for anything.
LiveNext ==
    \/ Step /\ IsTimely
    \/ ~IsLastTerm /\ Fault
    \/ \E s \in Server, voters \in SUBSET Server \ {{}} :
        (IsLastTerm => Now(s).term = TermsMax) /\ Reconfigure(s, voters, {})

LiveSpec == Init /\ [][LiveNext]_vars /\ WF_vars(LiveNext)

(******************************* properties ********************************)

\* A leader is elected, and stays.
LeaderStays == <>[](\E s \in Server : Role(s) = "leader" /\ Now(s).term = TermsMax)

\* All that a leader has appended is committed, and every member has all of it.
AllIsReplicated ==
    <>[](\E s \in Server :
            /\ Now(s).term = TermsMax
            /\ Now(s).log = witness.committed /\ Len(Now(s).log) > 0
            /\ \A p \in Members(Config(s)) : Now(p).log = Now(s).log)

\* A change of members comes to its end, and who was removed leads no more.
ChangesEnd ==
    <>[](LET config == ConfigIn(witness.committed)
         IN  /\ config.outgoing = {}
             /\ \A s \in config.voters : Config(s) = config
             /\ \A s \in Server : Role(s) = "leader" => s \in config.voters)
=============================================================================
