//! Disks of a size of the test's choosing, one for each member: file systems in memory that only
//! this test sees.
//! Never needs to be root: a user's own namespace may mount them, and they go with their keeper.

use crate::cluster::Cluster;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How much is written at once to fill a disk up.
const PIECE_BYTES: usize = 64 << 10;

/// The disks of a cluster's members, mounted over their data directories where the servers see them.
#[derive(Debug)]
pub struct SmallDisks {
    /// Whoever keeps the namespace.
    keeper: Child,
}

impl SmallDisks {
    /// Mounts a disk of `bytes` over each member's data directory.
    ///
    /// # Errors
    /// If this machine does not let a user mount anything in a namespace of their own; a test that
    /// needs that fails then.
    pub fn mount(cluster: &Cluster, bytes: u64) -> Result<SmallDisks> {
        let mut script = String::from("set -e\n");
        for member in &cluster.members {
            std::fs::create_dir_all(&member.data_dir)?;
            let place = member.data_dir.display();
            script.push_str(&format!("mount -t tmpfs -o size={bytes} none '{place}'\n"));
        }
        script.push_str("echo mounted\nexec cat\n");
        let mut keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run unshare")?;
        let output = keeper.stdout.take().context("a pipe was asked for")?;
        let mut said = String::new();
        BufReader::new(output).read_line(&mut said)?;
        let disks = SmallDisks { keeper };
        ensure!(
            said == "mounted\n",
            "no small disks: unshare or mount was refused"
        );
        Ok(disks)
    }

    /// Starts a member where its disk is mounted.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn spawn(&self, cluster: &mut Cluster, number: usize) -> Result<()> {
        let flags = cluster.flags(number);
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.keeper.id().to_string())
            .arg(&cluster.server.program)
            .args(flags);
        cluster.spawn_command(number, command)
    }

    /// Where a member's disk can be seen from outside.
    fn seen(&self, cluster: &Cluster, number: usize) -> PathBuf {
        let place = &cluster.members[number].data_dir;
        PathBuf::from(format!(
            "/proc/{}/root{}",
            self.keeper.id(),
            place.display()
        ))
    }

    /// Somebody else fills a member's disk to the last byte; how many it took.
    ///
    /// # Errors
    /// If the disk fails otherwise than for lack of room.
    pub fn fill(&self, cluster: &Cluster, number: usize) -> Result<usize> {
        let mut file = std::fs::File::create(self.ballast(cluster, number))?;
        let (piece, mut bytes) = (vec![1; PIECE_BYTES], 0);
        loop {
            match file.write(&piece) {
                Ok(written) => bytes += written,
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(bytes),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What [`SmallDisks::fill`] took is given back.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn give_back(&self, cluster: &Cluster, number: usize) -> Result<()> {
        Ok(std::fs::remove_file(self.ballast(cluster, number))?)
    }

    /// A name that no server takes for one of its files, nor minds.
    fn ballast(&self, cluster: &Cluster, number: usize) -> PathBuf {
        self.seen(cluster, number).join("wal").join("ballast")
    }
}

impl Drop for SmallDisks {
    fn drop(&mut self) {
        // It ends with its input, and the disks with the last process that sees them.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
