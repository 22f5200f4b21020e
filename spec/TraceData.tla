------------------------------ MODULE TraceData ------------------------------
(***************************************************************************)
(* The traces that `TraceRaft' walks through.  Here they are empty: TLC    *)
(* takes the values of these names from TraceData.java, which reads what   *)
(* xtask/src/spec/walk.rs has written, in this very notation.  As the text *)
(* of a module they would take TLC longer to parse than to walk through.   *)
(***************************************************************************)
Configs == <<>>     \* what many events share, by number from 1
Messages == <<>>
States == <<>>
Writes == <<>>
Walks == <<>>       \* the traces

=============================================================================
