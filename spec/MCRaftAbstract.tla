---- MODULE MCRaftAbstract ----
EXTENDS RaftAbstract, TLC
Symmetry == Permutations(Server)
====
