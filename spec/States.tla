------------------------------- MODULE States -------------------------------
(***************************************************************************)
(* Every state that TLC finds, written down: an invariant that always      *)
(* holds, for TLC looks at the invariants once in each distinct state.     *)
(*                                                                         *)
(* TLA+ writes nothing.  `States.java' takes the place of `Note', and puts *)
(* what it is given into the file states.txt; each value in full the first *)
(* time, and then by number.                                               *)
(***************************************************************************)

\* `parts' and `more' are sets of values, `rest' is one more.
Note(parts, more, rest) == TRUE

=============================================================================
