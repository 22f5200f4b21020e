//! The calls and returns of a part of a history that are not placed yet.
//! Never knows what a step does.
//!
//! # Source
//! Wing and Gong, "Testing and verifying concurrent objects", 1993; Knuth's dancing links.

/// The calls and returns that are not placed yet, in the order of their times, as a list from
/// which a step's two events can be lifted and put back in constant time.
pub(crate) struct Events {
    /// For each event its step and whether it is the return; event 0 is the list's head.
    event: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Each step's call and return.
    of_step: Vec<[usize; 2]>,
}

const HEAD: usize = 0;

impl Events {
    pub(crate) fn new(times: impl Iterator<Item = (u64, u64)>) -> Self {
        // At one moment calls come first: operations that touch are concurrent.
        let mut timed: Vec<(u64, bool, usize)> = Vec::new();
        for (step, (called, returned)) in times.enumerate() {
            timed.extend([(called, false, step), (returned, true, step)]);
        }
        timed.sort_unstable();
        let mut of_step = vec![[HEAD; 2]; timed.len() / 2];
        let mut event = vec![(usize::MAX, true)];
        for (_, is_return, step) in timed {
            of_step[step][usize::from(is_return)] = event.len();
            event.push((step, is_return));
        }
        let count = event.len();
        Self {
            event,
            next: (0..count).map(|at| (at + 1) % count).collect(),
            previous: (0..count).map(|at| (at + count - 1) % count).collect(),
            of_step,
        }
    }

    pub(crate) fn first(&self) -> usize {
        self.next[HEAD]
    }

    pub(crate) fn after(&self, event: usize) -> usize {
        self.next[event]
    }

    /// The step whose call this event is; none if it is a return, or the list's head.
    pub(crate) fn call(&self, event: usize) -> Option<usize> {
        let (step, is_return) = self.event[event];
        (!is_return).then_some(step)
    }

    /// The steps that were called before the first return that is left.
    pub(crate) fn callable(&self) -> impl Iterator<Item = usize> {
        let mut event = self.first();
        std::iter::from_fn(move || {
            let step = self.call(event)?;
            event = self.next[event];
            Some(step)
        })
    }

    /// The step that returns first.
    pub(crate) fn first_return(&self) -> usize {
        let mut event = self.first();
        while self.call(event).is_some() {
            event = self.next[event];
        }
        self.event[event].0
    }

    pub(crate) fn lift(&mut self, step: usize) {
        for event in self.of_step[step] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    pub(crate) fn put_back(&mut self, step: usize) {
        // The reverse order of lifting, so that each event finds the neighbours it had.
        for &event in self.of_step[step].iter().rev() {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = event;
            self.previous[next] = event;
        }
    }
}
