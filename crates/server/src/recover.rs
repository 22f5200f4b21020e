//! A new cluster from what is left of a lost one: `headwater disk recover`.
//! Never changes a directory that it was given, and makes none before its user has said so.
//!
//! # Source
//! docs/format.md, "Salvage".

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use headwater_kv::Store;
use headwater_kv::auth::Auth;
use headwater_raft::{Config, LogId};
use headwater_replica::recovery::Expect;
use headwater_replica::salvage::found_anew;
use headwater_replica::wal::WalOptions;
use headwater_runtime::file::{FileDisk, Use};
use headwater_runtime::{dice, name::hex};

use crate::cli::RecoverArgs;
use crate::config::check_name;
use crate::identity;
use crate::print;
use crate::survey::Survey;
use crate::url::Url;

/// Compares the directories and says which is the best; with `--into`, begins a new cluster with what
/// they hold together.
///
/// # Errors
/// A directory cannot be read or is another cluster's, none gives anything, or the user did not agree.
pub fn run(args: &RecoverArgs) -> Result<ExitCode> {
    let survey = Survey::of(&args.directories)?;
    if args.json {
        print::put(format!("{:#}\n", survey.to_json()))?;
    } else {
        print::put(survey.tell()?)?;
    }
    match &args.into {
        None => Ok(ExitCode::SUCCESS),
        Some(into) => begin_anew(survey, into, args).map(|()| ExitCode::SUCCESS),
    }
}

/// The new cluster's only member.
struct Founder {
    name: String,
    urls: Vec<String>,
    token: String,
    expect: Expect,
}

impl Founder {
    fn of(args: &RecoverArgs) -> Result<Self> {
        let token = args.initial_cluster_token.clone();
        let token = token.context("--into needs --initial-cluster-token, unlike the old one")?;
        check_name(&args.name)?;
        let urls = &args.initial_advertise_peer_urls;
        let urls = Url::parse_list("initial-advertise-peer-urls", urls)?;
        let urls: Vec<String> = urls.iter().map(Url::to_string).collect();
        let node = identity::member_id(&token, &args.name, &urls);
        Ok(Self {
            expect: Expect {
                cluster: identity::cluster_id(&token, [node]),
                node,
                fresh_incarnation: dice::u128(),
                first_config: Config::of_voters([node]),
            },
            name: args.name.clone(),
            urls,
            token,
        })
    }

    /// How the new cluster is started.
    fn command(&self, data_dir: &Path) -> String {
        let (name, urls) = (&self.name, self.urls.join(","));
        let cluster: Vec<String> = self
            .urls
            .iter()
            .map(|url| format!("{name}={url}"))
            .collect();
        format!(
            "headwater --data-dir {} --name {name} --initial-cluster-token {} \\\n  \
             --initial-advertise-peer-urls {urls} --initial-cluster {} \\\n  \
             --listen-peer-urls {urls} --listen-client-urls ... --advertise-client-urls ...",
            data_dir.display(),
            self.token,
            cluster.join(",")
        )
    }
}

fn begin_anew(mut survey: Survey<'_>, into: &Path, args: &RecoverArgs) -> Result<()> {
    let founder = Founder::of(args)?;
    let same = "--initial-cluster-token: this is the token of the lost cluster; a member of it that \
                comes back must not take the new one for its own";
    let me = founder.expect.node;
    ensure!(founder.expect.cluster != survey.cluster, same);
    let config = survey.config();
    ensure!(!config.is_some_and(|config| config.is_member(me)), same);
    let roster = survey.state.machine.roster();
    ensure!(
        !roster.has_removed(me.0) && roster.member(me.0).is_none(),
        same
    );
    ensure!(
        survey.found.kept > LogId::default(),
        "nothing can be kept: neither a snapshot nor the first entry is whole; begin with a snapshot that \
         was saved (headwater snapshot restore)"
    );
    unfinished_name("into", into)?;
    agree(&survey, founder.expect.cluster)?;
    survey.check_stopped()?;
    if args.without_users {
        survey.state.machine.restore_auth(Auth::default());
    }
    lay_down("into", into, |disk| {
        let options = WalOptions::default();
        found_anew::<Store>(disk, &options, founder.expect.clone(), survey.state)
            .map_err(|why| anyhow::anyhow!("{why}"))
    })?;
    print::put(format!(
        "\nDone. Keep the old directories, never start them again, and start the new cluster with\n\n  \
         {}\n\n",
        founder.command(into)
    ))
}

/// Makes a data directory that gets its name when it is whole, and not before. `flag` names it.
///
/// # Errors
/// Something is there already, or `make` fails.
pub fn lay_down(
    flag: &str,
    into: &Path,
    make: impl FnOnce(&mut FileDisk) -> Result<()>,
) -> Result<()> {
    let unfinished = unfinished_name(flag, into)?;
    print::note(&format!("writing {}", into.display()));
    fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let mut disk = FileDisk::new(unfinished.clone(), Use::Snapshots, Arc::default());
    let made = make(&mut disk);
    drop(disk);
    let named = made.and_then(|()| {
        let renamed = fs::rename(&unfinished, into);
        renamed.with_context(|| format!("cannot rename {}", unfinished.display()))
    });
    if named.is_err() {
        // Of no use to anybody; if it cannot be removed either, the next try says so.
        let _ = fs::remove_dir_all(&unfinished);
    }
    named?;
    let parent = into
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Ok(fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?)
}

/// What a directory is called until it is whole, if nothing is in its place. Nothing is changed.
///
/// # Errors
/// Something is there already.
pub fn vacant(flag: &str, into: &Path) -> Result<PathBuf> {
    let name = into.file_name();
    let name = name.with_context(|| format!("--{flag} {}: not a name", into.display()))?;
    let list = || fs::read_dir(into).with_context(|| format!("--{flag} {}", into.display()));
    let taken = into.exists() && list()?.next().is_some();
    ensure!(!taken, "--{flag} {}: it is not empty", into.display());
    let mut name = name.to_owned();
    name.push(".unfinished");
    let unfinished = into.with_file_name(name);
    ensure!(
        !unfinished.exists(),
        "{} is left of an earlier try that did not end: remove it first",
        unfinished.display()
    );
    Ok(unfinished)
}

/// The same, and makes way for it.
fn unfinished_name(flag: &str, into: &Path) -> Result<PathBuf> {
    let unfinished = vacant(flag, into)?;
    if into.exists() {
        // The new directory takes its place, which a mount point or a link does not give.
        fs::remove_dir(into).with_context(|| {
            format!(
                "--{flag} {}: it cannot be replaced (a mount point?); name a directory in it",
                into.display()
            )
        })?;
    }
    Ok(unfinished)
}

/// Asks on the terminal, or whatever the standard input is.
fn agree(survey: &Survey<'_>, new: u64) -> Result<()> {
    if survey.has_quorum() {
        print::put(
            "A quorum of the old cluster is here, and can go on as it is: better start that.\n",
        )?;
        must_type("abandon", "abandon it all the same")?;
    }
    let old = hex(survey.cluster).to_string();
    print::put(format!(
        "A new cluster, {}, takes the place of {old}. The old one's other members must never run again.\n",
        hex(new),
    ))?;
    must_type(&old, "go on")?;
    print::put("\n")
}

fn must_type(word: &str, deed: &str) -> Result<()> {
    print::put(format!("Type {word} to {deed}: "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    ensure!(
        answer.trim() == word,
        "that was not it; nothing was changed"
    );
    Ok(())
}
