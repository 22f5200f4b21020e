//! Commands to propose, and what remains of them when they are applied.
//! Never random from run to run: equal seeds give equal commands.

use bytes::Bytes;

/// How many bytes a command has.
pub const COMMAND_BYTES: usize = 256;
/// How many different commands there are. Coprime to every width of a wave, so that a node that
/// takes one entry for another does not go unnoticed.
const COMMANDS: u64 = 1021;

/// A never-ending list of commands. They are made beforehand and handed out as shared bytes, as a
/// server hands on slices of what it has read from a connection.
#[derive(Debug)]
pub struct Commands {
    pool: Vec<Bytes>,
    next: usize,
}

impl Commands {
    /// The list that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut command = || {
            let words = (0..COMMAND_BYTES / 8).flat_map(|_| mix(&mut state).to_le_bytes());
            Bytes::from(words.collect::<Vec<u8>>())
        };
        Self {
            pool: (0..COMMANDS).map(|_| command()).collect(),
            next: 0,
        }
    }

    /// The next command.
    pub fn take(&mut self) -> Bytes {
        let command = self.pool[self.next].clone();
        self.next += 1;
        if self.next == self.pool.len() {
            self.next = 0;
        }
        command
    }

    /// What a node should have applied after the first `count` commands.
    pub fn tally(seed: u64, count: u64) -> Tally {
        let mut commands = Self::new(seed);
        let mut tally = Tally::default();
        for _ in 0..count {
            tally.add(&commands.take());
        }
        tally
    }
}

/// SplitMix64: the next of a sequence of well-mixed numbers.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A state machine's whole state: how many commands, how many bytes, and in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Commands applied.
    pub commands: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Depends on every command and on their order.
    pub sum: u64,
}

impl Tally {
    /// Applies one command.
    pub fn add(&mut self, command: &[u8]) {
        let mut head = [0; 8];
        head.copy_from_slice(&command[..8]);
        self.commands += 1;
        self.bytes += command.len() as u64;
        let mixed = self.sum.rotate_left(5) ^ u64::from_le_bytes(head);
        self.sum = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
