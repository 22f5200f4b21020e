//! Two servers, measured in turn under the same load on the same disk.
//!
//! Each round starts a fresh cluster of three, gives it every load, and stops it; then the other
//! server's. Machines drift over minutes, so only figures of the same round are divided by each
//! other, and who begins changes from round to round.

use crate::cluster::{leader_url, start, urls, watched};
use crate::engine::Engine;
use crate::failover::{self, Kills};
use crate::figures::{Figures, under};
use crate::machine::{Disk, Watched};
use crate::rows::{Before, STEPS, Step, Target, engine_of, is_wanted};
use crate::work::{Shape, Work};
use crate::{CompareArgs, bare, cluster, floor, load, plot, report, store, watch, work};
use anyhow::{Context, Result, bail, ensure};
use headwater_etcd_tests::cluster::{Cluster, Server};
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Seconds of puts before a measurement that comes right after some.
const BURST_SECONDS: f64 = 2.0;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Our server.
    Ours,
    /// The other one.
    Rival,
    /// The prototype that checks nothing.
    Bare,
}

/// All that was measured in one round.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Ours.
    pub ours: Figures,
    /// The other's.
    pub rival: Figures,
    /// The prototype's.
    pub bare: Figures,
}

impl Round {
    /// The figures of one of them.
    pub fn of(&self, who: Who) -> &Figures {
        match who {
            Who::Ours => &self.ours,
            Who::Rival => &self.rival,
            Who::Bare => &self.bare,
        }
    }

    fn add(&mut self, who: Who, figures: Figures) {
        match who {
            Who::Ours => self.ours.extend(figures),
            Who::Rival => self.rival.extend(figures),
            Who::Bare => self.bare.extend(figures),
        }
    }
}

/// A comparison under way.
struct Comparison<'a> {
    args: &'a CompareArgs,
    shape: Shape,
    disk: Disk,
    ours: Server,
    rival: Server,
    /// What did not come off.
    failures: Vec<String>,
}

/// Runs the whole comparison and prints it.
///
/// # Errors
/// If something could not be measured; what could is printed all the same.
pub async fn run(args: &CompareArgs) -> Result<()> {
    std::fs::create_dir_all(&args.dir)?;
    let mut comparison = Comparison {
        args,
        shape: args.shape(),
        disk: Disk::under(&args.dir)?,
        ours: Server::at(args.ours.clone())?,
        rival: Server::at(args.rival.clone())?,
        failures: Vec::new(),
    };
    for asked in &args.only {
        let only = [asked.clone()];
        let mut names = STEPS.iter().map(|step| step.name);
        let known = names.any(|name| is_wanted(name, &only));
        let other = crate::rows::OTHERS
            .iter()
            .any(|name| is_wanted(name, &only));
        ensure!(known || other, "no measurement is called {asked}");
    }
    let mut rounds = Vec::new();
    for number in 0..args.rounds() {
        eprintln!("round {} of {}", number + 1, args.rounds());
        let mut round = Round::default();
        for who in in_turn(number) {
            comparison.loads(who, &mut round).await;
        }
        comparison.bare(&mut round).await;
        if number < args.stores {
            for who in in_turn(number) {
                comparison.store(who, &mut round).await;
                comparison.written(who, &mut round).await;
            }
        }
        rounds.push(round);
    }
    for number in 0..args.kills() {
        eprintln!("leaders killed: {} of {}", number + 1, args.kills());
        let mut round = Round::default();
        for who in in_turn(number) {
            comparison.kills(who, &mut round).await;
        }
        rounds.push(round);
    }
    let versions = [version_of(&args.ours)?, version_of(&args.rival)?];
    report::compare(&versions, &rounds);
    if let Some(path) = &args.json {
        let json = report::compare_json(&versions, &rounds);
        std::fs::write(path, format!("{json:#}\n"))?;
    }
    if let (Some(path), Some(svg)) = (&args.svg, plot::puts(&rounds)?) {
        std::fs::write(path, svg)?;
    }
    let failures = comparison.failures;
    ensure!(
        failures.is_empty(),
        "not measured:\n{}",
        failures.join("\n")
    );
    Ok(())
}

/// Who comes first changes.
pub fn in_turn(number: usize) -> [Who; 2] {
    match number % 2 {
        0 => [Who::Ours, Who::Rival],
        _ => [Who::Rival, Who::Ours],
    }
}

impl Comparison<'_> {
    fn wants(&self, name: &str) -> bool {
        self.args.wants(name)
    }

    fn server(&self, who: Who) -> &Server {
        match who {
            Who::Rival => &self.rival,
            _ => &self.ours,
        }
    }

    /// Keeps what was measured, or why it was not.
    fn keep(&mut self, round: &mut Round, who: Who, name: &str, result: Result<Figures>) {
        match result {
            Ok(figures) => {
                eprintln!("  {}", report::line(who, name, &figures));
                round.add(who, under(name, figures));
            }
            Err(error) => {
                eprintln!("  {who:?} {name}: {error:#}");
                self.failures.push(format!("{who:?} {name}: {error:#}"));
            }
        }
    }

    /// All loads that were asked for, on one fresh cluster.
    async fn loads(&mut self, who: Who, round: &mut Round) {
        let steps: Vec<Step> = STEPS.into_iter().filter(|s| self.wants(s.name)).collect();
        let others = ["floor", "watch", "watch-lean"];
        if steps.is_empty() && !others.iter().any(|name| self.wants(name)) {
            return;
        }
        let started = bounded(90.0, async {
            let cluster = start(self.server(who), &self.args.dir, &[]).await?;
            let urls = urls(&cluster);
            work::fill(&load::connect(&urls, 1).await?[0], self.shape).await?;
            Ok(cluster)
        });
        let mut cluster = match started.await {
            Ok(cluster) => cluster,
            Err(error) => return self.keep(round, who, "start", Err(error)),
        };
        for step in steps {
            let measured = async {
                let plan = prepare(&mut cluster, self.shape, &step).await?;
                load::run(&plan, &watched(&cluster, &self.disk)).await
            };
            let measured = bounded(60.0 + 3.0 * self.shape.seconds, measured).await;
            self.keep(round, who, step.name, measured);
        }
        if self.wants("floor") {
            let measured = floor::measure(&cluster, &self.args.dir, self.shape);
            let measured = bounded(60.0, measured).await;
            self.keep(round, who, "floor", measured);
        }
        for name in ["watch", "watch-lean"] {
            if self.wants(name) {
                let urls = urls(&cluster);
                let watched = watched(&cluster, &self.disk);
                let (engine, count) = (engine_of(name), self.args.watchers);
                let measured = watch::fan_out(&urls, engine, count, self.shape, &watched);
                let measured = bounded(90.0 + 3.0 * self.shape.seconds, measured).await;
                self.keep(round, who, name, measured);
            }
        }
    }

    /// The prototype under the loads that it takes, each on fresh processes.
    async fn bare(&mut self, round: &mut Round) {
        for name in ["put-64", "put-64-lean"] {
            if !self.wants(name) {
                continue;
            }
            let measured = async {
                let bare = bare::start(&self.args.dir)?;
                bare.serves().await?;
                let urls = vec![bare.url.clone()];
                let plan = plan(engine_of(name), urls, Work::Put, 64, self.shape);
                load::run(&plan, &bare.watched(&self.disk)).await
            };
            let measured = bounded(60.0, measured).await;
            self.keep(round, Who::Bare, name, measured);
        }
    }

    async fn store(&mut self, who: Who, round: &mut Round) {
        if !self.wants("store") {
            return;
        }
        let keys = self.args.store_keys();
        let shape = Shape { keys, ..self.shape };
        let measured = store::measure(self.server(who), &self.args.dir, shape);
        let measured = bounded(120.0 + keys as f64 / 4000.0, measured).await;
        self.keep(round, who, "store", measured);
    }

    async fn written(&mut self, who: Who, round: &mut Round) {
        if !self.wants("written") {
            return;
        }
        let puts = self.args.store_keys();
        let measured = store::written(self.server(who), &self.args.dir, puts, self.shape);
        let measured = bounded(120.0 + puts as f64 / 2000.0, measured).await;
        self.keep(round, who, "written", measured);
    }

    async fn kills(&mut self, who: Who, round: &mut Round) {
        let fast: &[&str] = &["--heartbeat-interval=10", "--election-timeout=100"];
        for (name, options) in [("failover", &[][..]), ("failover-fast", fast)] {
            if !self.wants(name) {
                continue;
            }
            let kills = Kills {
                clients: 16,
                limit: Duration::from_millis(100),
            };
            let measured = failover::measure(self.server(who), &self.args.dir, kills, options);
            let measured = bounded(120.0, measured).await;
            self.keep(round, who, name, measured);
        }
    }
}

/// Does what comes before a load, and says what that is.
///
/// # Errors
/// If the cluster does not come back from it.
pub async fn prepare(cluster: &mut Cluster, shape: Shape, step: &Step) -> Result<load::Plan> {
    match step.before {
        Before::Nothing => {}
        Before::Restart => {
            for number in 0..cluster.members.len() {
                cluster.terminate(number).await?;
            }
            for number in 0..cluster.members.len() {
                cluster::spawn(cluster, number)?;
            }
            cluster.ready().await?;
        }
        Before::Burst => {
            let leader = vec![leader_url(cluster).await?];
            let mut burst = plan(engine_of(step.name), leader, Work::Put, 256, shape);
            burst.shape.seconds = shape.seconds.min(BURST_SECONDS);
            load::run(&burst, &Watched::default()).await?;
        }
    }
    let endpoints = match step.target {
        Target::Leader => vec![leader_url(cluster).await?],
        Target::All => urls(cluster),
    };
    let engine = engine_of(step.name);
    let mut plan = plan(engine, endpoints, step.work, step.clients, shape);
    if let Some(bytes) = step.value_bytes {
        // Few keys, or the store outgrows its quota.
        (plan.shape.value_bytes, plan.shape.keys) = (bytes, 1000);
    }
    Ok(plan)
}

fn plan(
    engine: Engine,
    endpoints: Vec<String>,
    work: Work,
    clients: usize,
    shape: Shape,
) -> load::Plan {
    load::Plan {
        endpoints,
        engine,
        work,
        clients,
        conns: load::usual_conns(clients),
        rate: None,
        shape,
    }
}

/// What something comes to; clusters in it are gone if it takes longer than so many seconds.
///
/// # Errors
/// Its own, or that it took too long.
pub async fn bounded<T>(seconds: f64, future: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(Duration::from_secs_f64(seconds), future).await {
        Ok(result) => result,
        Err(_) => bail!("it took longer than {seconds:.0} s"),
    }
}

/// A program's name and the first line of its `--version`.
///
/// # Errors
/// If it cannot be run.
pub fn version_of(program: &Path) -> Result<String> {
    let output = std::process::Command::new(program)
        .arg("--version")
        .output();
    let output = output.with_context(|| format!("cannot run {program:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = text.lines().find(|line| line.contains("Headwater"));
    let line = own.or(text.lines().next()).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name} ({line})"))
}
