//! The search with a model that is no register: a queue.

mod common;

use common::{Dice, by_brute_force};
use headwater_linear::search::check;
use headwater_linear::{Model, Operation, Verdict};

#[derive(Clone, PartialEq, Debug)]
enum Op {
    Push(u64),
    /// What came out; nothing if the queue was empty.
    Pop(Option<u64>),
    Length(usize),
}

struct Queue;

impl Model for Queue {
    type State = Vec<u64>;
    type Op = Op;

    fn step(&self, state: &Vec<u64>, op: &Op) -> Option<Vec<u64>> {
        match *op {
            Op::Push(item) => Some([&state[..], &[item]].concat()),
            Op::Pop(item) if state.first().copied() == item => {
                Some(state.get(1..).unwrap_or_default().to_vec())
            }
            Op::Length(length) if state.len() == length => Some(state.clone()),
            _ => None,
        }
    }

    fn only_observes(&self, op: &Op) -> bool {
        matches!(op, Op::Length(_))
    }
}

fn holds(history: &[Operation<Op>]) -> bool {
    let found = check(&Queue, Vec::new(), history);
    let truth = by_brute_force(&Queue, &Vec::new(), &history.iter().collect::<Vec<_>>());
    assert_eq!(found == Verdict::Linearizable, truth, "{history:#?}");
    truth
}

#[test]
fn what_goes_in_first_comes_out_first() {
    let op = |op, from, to| Operation::new(op, from, Some(to));
    let pushes = [op(Op::Push(1), 0, 3), op(Op::Push(2), 2, 5)];
    let pops = |first, second| {
        let pops = [
            op(Op::Pop(Some(first)), 6, 7),
            op(Op::Pop(Some(second)), 8, 9),
        ];
        [&pushes[..], &pops].concat()
    };
    assert!(holds(&pops(1, 2)));
    assert!(holds(&pops(2, 1)), "the pushes overlap");
    assert!(!holds(&pops(1, 1)), "one item comes out twice");
    let apart = [
        op(Op::Push(1), 0, 1),
        op(Op::Push(2), 2, 3),
        op(Op::Pop(Some(2)), 4, 5),
    ];
    assert!(!holds(&apart));
}

#[test]
fn a_part_is_searched_again_when_it_ended_in_the_wrong_state() {
    // Nothing is under way between the parts, and only the last pop says how the first must end.
    let op = |op, from, to| Operation::new(op, from, Some(to));
    for [first, second] in [[1, 2], [2, 1]] {
        let history = [
            op(Op::Push(1), 0, 5),
            op(Op::Push(2), 0, 5),
            op(Op::Length(2), 10, 11),
            op(Op::Push(3), 20, 21),
            op(Op::Pop(Some(first)), 30, 31),
            op(Op::Pop(Some(second)), 40, 41),
        ];
        assert!(holds(&history));
    }
}

#[test]
fn random_histories_have_the_verdict_of_brute_force() {
    let mut verdicts = [0; 2];
    for seed in 0..20_000 {
        let mut dice = Dice::new(seed);
        let mut history = Vec::new();
        for item in 0..1 + dice.below(6) {
            let from = dice.below(14);
            let op = match dice.below(5) {
                0 | 1 => Op::Push(item),
                2 => Op::Length(dice.below(3) as usize),
                _ => Op::Pop([None, Some(dice.below(4))][dice.below(2) as usize]),
            };
            let returned = (!dice.percent(20)).then(|| from + dice.below(8));
            history.push(Operation::new(op, from, returned));
        }
        verdicts[usize::from(holds(&history))] += 1;
    }
    assert!(verdicts.iter().all(|&count| count > 3_000), "{verdicts:?}");
}
