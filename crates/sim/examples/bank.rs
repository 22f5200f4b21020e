#![doc = "A bank in the simulator: an embedder's own state machine, whole clusters of it, and any fault.
With `--bug` its snapshots forget how many receipts there are, and a few seeds find that."]

use std::process::ExitCode;

use bytes::Bytes;
use clap::Parser;
use headwater_replica::{LogId, Malformed, StateMachine};
use headwater_sim::application::{Application, Want};
use headwater_sim::cli::{self, Runner};
use headwater_sim::{dice::Dice, plan::Knobs, replay::Replay, run::simulate};

/// Four accounts, and how many receipts were given out; `BUG`: snapshots forget the receipts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bank<const BUG: bool> {
    balances: [i64; 4],
    receipts: i64,
}

impl<const BUG: bool> StateMachine for Bank<BUG> {
    type Reply = Option<i64>;
    type Query = usize;
    type Answer = i64;
    type Walk = Option<Bytes>;

    /// Moves money, unless that would leave less than -100; the receipt's number.
    fn apply(&mut self, _at: LogId, command: &Bytes) -> Option<i64> {
        let [from, to, amount, ..] = command[..] else {
            return None;
        };
        let (from, to, amount) = (from as usize % 4, to as usize % 4, i64::from(amount));
        if self.balances[from] < amount - 100 {
            return None;
        }
        self.balances[from] -= amount;
        self.balances[to] += amount;
        self.receipts += 1;
        Some(self.receipts)
    }

    fn query(&self, account: usize) -> i64 {
        self.balances[account]
    }

    fn begin_snapshot(&mut self) -> Option<Bytes> {
        let receipts = if BUG { 0 } else { self.receipts };
        let numbers = self.balances.iter().chain([&receipts]);
        Some(numbers.flat_map(|number| number.to_le_bytes()).collect())
    }

    fn next_chunk(&mut self, walk: &mut Option<Bytes>, _max_bytes: usize) -> Option<Bytes> {
        walk.take()
    }

    fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed> {
        let numbers = chunk.as_chunks().0.iter().copied().map(i64::from_le_bytes);
        let numbers: Result<[i64; 5], _> = numbers.collect::<Vec<_>>().try_into();
        let [balances @ .., receipts] = numbers.map_err(|_| Malformed("not a bank".into()))?;
        (self.balances, self.receipts) = (balances, receipts);
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        40
    }
}

impl<const BUG: bool> Application for Bank<BUG> {
    type Machine = Self;
    type Client = ();
    type Model = Replay<Self>;

    fn client(_: &Knobs) {}

    fn draw((): &mut (), dice: &mut Dice, unique: u64) -> Want<usize> {
        let account = dice.below(4) as u8;
        match dice.below(3) {
            0 => Want::Read(account.into()),
            1 => Want::ReadStale(account.into()),
            _ => {
                let order = [account, dice.below(4) as u8, dice.below(50) as u8];
                Want::Write([&order[..], &unique.to_le_bytes()].concat().into())
            }
        }
    }

    fn probe_write(unique: u64) -> Bytes {
        [&[0, 1, 1][..], &unique.to_le_bytes()].concat().into()
    }

    fn probe_read() -> usize {
        0
    }
}

/// Run whole clusters of a bank in worlds made of dice
#[derive(Parser)]
struct Cli {
    /// Let snapshots forget how many receipts there are
    #[arg(long)]
    bug: bool,
    #[command(flatten)]
    arguments: cli::Arguments,
}

fn main() -> ExitCode {
    let Cli { bug, arguments } = Cli::parse();
    let program = "cargo run --release -p headwater-sim --example bank --";
    if bug {
        let runner: Runner = simulate::<Bank<true>>;
        return cli::main(&arguments, &format!("{program} --bug"), runner);
    }
    cli::main(&arguments, program, simulate::<Bank<false>>)
}
