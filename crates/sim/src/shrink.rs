//! From a plan that fails to a smaller one that fails alike: fewer faults, clients and nodes, a
//! shorter run, and sizes as they usually are.
//! Never accepts a failure of another oracle: that would be another bug.
//!
//! # Source
//! Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", TSE'02 (ddmin).

use crate::check::Violation;
use crate::knobs::{KNOBS, Knobs};
use crate::plan::{Plan, When};

/// What may be tried, and how.
pub struct Shrink<'a> {
    /// Runs a plan; what is wrong, if anything.
    pub run: &'a mut dyn FnMut(&Plan) -> Option<Violation>,
    /// Whether there is time for one more run.
    pub goes_on: &'a mut dyn FnMut() -> bool,
    /// The oracle that must fail.
    pub oracle: &'static str,
}

/// Knobs that shrink by becoming less, not by becoming usual.
const LESS: [&str; 3] = ["nodes", "faults", "clients"];

impl Shrink<'_> {
    /// The smallest plan found.
    pub fn shrink(&mut self, mut plan: Plan) -> Plan {
        loop {
            let before = plan.clone();
            self.end_sooner(&mut plan);
            self.drop_faults(&mut plan);
            self.take_less(&mut plan);
            self.be_usual(&mut plan);
            if plan == before || !(self.goes_on)() {
                return plan;
            }
        }
    }

    /// Takes `smaller` if it fails alike.
    fn try_one(&mut self, plan: &mut Plan, smaller: Plan) -> bool {
        if smaller == *plan || smaller.mistake().is_some() || !(self.goes_on)() {
            return false;
        }
        let fails = (self.run)(&smaller).is_some_and(|found| found.oracle == self.oracle);
        if fails {
            *plan = smaller;
        }
        fails
    }

    /// Leaves out faults, first in large parts, at last one by one.
    fn drop_faults(&mut self, plan: &mut Plan) {
        let mut part = plan.faults.len();
        while part > 0 {
            let mut at = 0;
            while at < plan.faults.len() {
                let mut smaller = plan.clone();
                let end = (at + part).min(smaller.faults.len());
                smaller.faults.drain(at..end);
                if !self.try_one(plan, smaller) {
                    at += part;
                }
            }
            part /= 2;
        }
    }

    fn end_sooner(&mut self, plan: &mut Plan) {
        for _ in 0..6 {
            let mut smaller = plan.clone();
            smaller.knobs.faults_ns /= 2;
            let end = smaller.knobs.faults_ns;
            let is_in_time = |when| !matches!(when, When::At(at) if at >= end);
            smaller.faults.retain(|planned| is_in_time(planned.when));
            if !self.try_one(plan, smaller) {
                return;
            }
        }
    }

    fn take_less(&mut self, plan: &mut Plan) {
        while plan.knobs.clients > 1 {
            let mut smaller = plan.clone();
            smaller.knobs.clients -= 1;
            if !self.try_one(plan, smaller) {
                break;
            }
        }
        while plan.knobs.nodes > 1 {
            let mut smaller = plan.clone();
            smaller.knobs.nodes -= 1;
            smaller
                .faults
                .retain(|planned| smaller.knobs.mistake(&planned.fault).is_none());
            if !self.try_one(plan, smaller) {
                break;
            }
        }
    }

    /// Turns knobs to where they usually are.
    fn be_usual(&mut self, plan: &mut Plan) {
        for knob in KNOBS
            .iter()
            .filter(|knob| !LESS.contains(&knob.name().as_str()))
        {
            let mut smaller = plan.clone();
            let usual = (knob.word)(&Knobs::default());
            if (knob.turn)(&mut smaller.knobs, &usual).is_ok() {
                self.try_one(plan, smaller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, Whom};
    use crate::recipe::Recipe;

    #[test]
    fn what_fails_by_two_faults_and_a_knob_shrinks_to_these() {
        let text = "nodes 7\nclients 5\nfaults 60s\nloss 100\ndouble 30\nkeys 5\ncount 60\n\
                    at 1s pause whom=n2 for=9ms\n\
                    at 50s pause whom=n3 for=1ms\nclass reset\nclass kill\nclass split\nat-marks 0";
        let plan = Recipe::parse(text).expect("a plan").draw(3);
        let is_of = |planned: &&crate::plan::Planned, node| match planned.fault {
            Fault::Pause { whom, .. } => whom == Whom::Node(node),
            _ => false,
        };
        let fails = |plan: &Plan| {
            let has = |node| plan.faults.iter().any(|planned| is_of(&planned, node));
            has(1) && has(2) && plan.knobs.loss == 100
        };
        assert!(fails(&plan));
        let mut runs = 0;
        let small = Shrink {
            run: &mut |plan| {
                runs += 1;
                fails(plan).then(|| Violation::new("planted", ""))
            },
            goes_on: &mut || true,
            oracle: "planted",
        }
        .shrink(plan);
        assert!(fails(&small), "it still fails");
        assert_eq!(small.faults.len(), 2, "{small}");
        let knobs = &small.knobs;
        assert_eq!((knobs.nodes, knobs.clients, knobs.keys), (3, 1, 2));
        assert_eq!((knobs.loss, knobs.double), (100, 0));
        assert!(runs < 300, "{runs}");
    }

    #[test]
    fn another_oracle_is_another_bug() {
        let plan = Recipe::parse("count 9\nclass kill")
            .expect("a plan")
            .draw(1);
        let small = Shrink {
            run: &mut |_| Some(Violation::new("other", "")),
            goes_on: &mut || true,
            oracle: "planted",
        }
        .shrink(plan.clone());
        assert_eq!(small, plan);
    }
}
