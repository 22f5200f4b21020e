//! Every class of fault strikes, and matters: what a plan never brings about, it does not test.

use headwater_sim::plan::Plan;
use headwater_sim::recipe::Recipe;
use headwater_sim::run::run;
use headwater_sim::trace::{Stats, Verbosity};

/// A world of each of these seeds.
const SEEDS: std::ops::Range<u64> = 7000..7300;

/// What happened in the worlds of these seeds, none of which breaks a promise.
fn stats(seeds: impl Iterator<Item = u64>) -> Stats {
    let mut all = Stats::default();
    for seed in seeds {
        let report = run(Plan::draw(seed), Verbosity::Silent.into());
        assert_eq!(report.violation, None, "seed {seed}");
        all.add(&report.stats);
    }
    all
}

#[test]
fn every_fault_strikes_and_matters() {
    // Two processors are twice as fast.
    let (mut all, odd) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| stats(SEEDS.skip(1).step_by(2)));
        let even = stats(SEEDS.step_by(2));
        (even, odd.join().expect("every odd seed holds"))
    });
    all.add(&odd);
    let struck = [
        ("changes begun", all.changes_begun),
        ("changes complete", all.changes_done),
        ("transfers complete", all.transfers_done),
        ("transfers because of a disk", all.transfers_for_disk),
        ("blank disks refused", all.impostors),
        ("pauses", all.pauses),
        ("slow disks", all.slow_disks),
        ("clocks at another pace", all.paces),
        ("clocks that leap", all.leaps),
        ("hung disks", all.hangs),
        ("full disks", all.full),
        ("failed calls", all.failed_calls),
        ("failed syncs", all.failed_syncs),
        ("partial partitions", all.partials),
        ("slow links", all.slow_links),
        ("frames damaged on their way", all.frames_damaged),
        ("leaders in peace with those outside", all.peaces),
        ("connections ended by damage", all.links_damaged),
        ("crashes in a turn", all.crashes_in_turn),
        ("crashes in a call to the disk", all.crashes_in_disk),
        ("crashes in an install", all.crashes_in_install),
        ("crashes in recovery", all.broken_starts),
        ("torn logs", all.torn),
        ("segments in files of released ones", all.recycled),
        ("logs that end in such a segment", all.recycled_starts),
        ("frames that waited for others", all.frames_waited),
        ("frames that waited for nothing", all.frames_alone),
        ("own disks that woke nobody", all.put_aside),
        ("own disks that did after all", all.put_aside_wakes),
        ("rotten disks refused", all.rot_refused),
        ("rotten snapshots replaced", all.rot_mended),
        ("rot that nobody needs", all.rot_harmless),
        ("disks set back and found out", all.rollbacks_halted),
        ("disks set back without harm", all.rollbacks_harmless),
        ("failed reads", all.failed_reads),
        ("misreads", all.misreads),
        ("misreads in recovery", all.misread_starts),
        ("writes lost or misdirected", all.strays),
        ("stray writes refused", all.strays_refused),
        ("spoilt snapshots dropped", all.snapshots_spoilt),
        ("reads by lease", all.lease_reads),
        ("reads of a bounded age", all.bounded_reads),
        ("snapshots of others", all.loaded),
        ("snapshots gone on with", all.resumed),
        ("watches begun", all.watches_created),
        ("members compared", all.agreements),
        ("watches that went on elsewhere", all.watches_resumed),
        ("events that watchers were told", all.watch_events),
        ("revisions told in fragments", all.watch_fragments),
        ("words of how far a watcher is", all.watch_progress),
        ("watches that a compaction passed", all.watches_compacted),
        ("leases granted", all.leases_granted),
        ("leases renewed", all.leases_renewed),
        ("leases renewed too late", all.leases_gone),
        ("leases ended", all.leases_ended),
        ("checkpoints of leases", all.lease_checkpoints),
    ];
    let missing: Vec<_> = struck.iter().filter(|(_, count)| *count == 0).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}\n{all:?}");
    assert!(all.changes_lost + all.changes_begun > all.changes_done);
    assert!(all.lost_disks > 20, "{all:?}");
}

#[test]
fn rot_at_rest_strikes_and_is_found_by_who_reads_again() {
    let decay = Recipe::named("decay").expect("it comes with the crate");
    let mut all = Stats::default();
    for seed in 7..13 {
        let report = run(decay.draw(seed), Verbosity::Silent.into());
        assert_eq!(report.violation, None, "seed {seed}");
        all.add(&report.stats);
    }
    let struck = [
        ("places damaged", all.decayed),
        ("rounds of reading again", all.scrubs),
        ("damage found while running", all.scrub_found),
        (
            "disks from which all can be kept",
            all.salvaged - all.salvaged_short,
        ),
        ("disks from which not all can be kept", all.salvaged_short),
    ];
    let missing: Vec<_> = struck.iter().filter(|(_, count)| *count == 0).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}\n{all:?}");
    assert!(all.scrub_found * 5 > all.decayed, "{all:?}");
}
