//! How a disk lies: reads that fail or bring something else, writes that it calls durable and that
//! land elsewhere or nowhere.
//! Never lies unasked, nor twice for one asking; and tells afterwards what it did.
//!
//! # Source
//! Bairavasundaram et al., "An Analysis of Data Corruption in the Storage Stack", FAST'08 (lost and
//! misdirected writes, misdirected reads).

use std::collections::BTreeSet;

use bytes::Bytes;
use headwater_replica::port::{DiskError, DiskErrorKind};
use headwater_replica::record::{FRAME_ALIGN, FRAME_MAGIC, decode_frame_head};
use headwater_replica::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead};
use headwater_replica::wal::WAL_DIR;

use super::{Change, File, SECTOR_BYTES, SimDisk, refused};
use crate::dice::Dice;
use crate::fault::Rot;

/// More than most frames of a log take.
const FRAME_BYTES: usize = 4096;

/// What was damaged, or read as if it were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file, and where in it.
    pub place: String,
    /// Whether everything behind it in the log may be gone as well, and with it what would tell that
    /// something was there: a frame that begins in a damaged sector may end behind it.
    pub takes_end: bool,
}

impl Damage {
    pub(crate) fn new(name: &str, at: usize, takes_end: bool) -> Self {
        Self {
            place: format!("{name} at {at}"),
            takes_end,
        }
    }

    /// Damage to all of the sector at `sector` of a file whose last byte of use is before `used`.
    pub(crate) fn of_sector(name: &str, sector: usize, used: usize) -> Self {
        let is_log = name.starts_with(WAL_DIR);
        Self::new(
            name,
            sector,
            is_log && sector + SECTOR_BYTES + FRAME_BYTES >= used,
        )
    }
}

/// A write that the disk acknowledges and does not make.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Whether it lands in another place, over what is there; else nowhere.
    pub lands: bool,
    /// Whether the page cache holds for a while what it should have been.
    pub cached: bool,
    /// Where.
    pub dice: Dice,
}

/// The lies to come and the last ones told.
#[derive(Clone, Debug, Default)]
pub(super) struct Lies {
    read_failure: Option<(u64, ())>,
    misread: Option<(u64, (Rot, Dice))>,
    stray: Option<(u64, Stray)>,
    misread_done: Option<Damage>,
    stray_done: Option<Damage>,
    hidden: bool,
}

impl Lies {
    /// The process starts again.
    pub(super) fn disarm(&mut self) {
        (self.read_failure, self.misread, self.stray) = (None, None, None);
    }

    /// The page cache is gone, and with it what it hid.
    pub(super) fn come_to_light(&mut self) {
        self.hidden = false;
    }
}

/// Counts down to what is planned; it, if this is the time.
pub(super) fn due<T>(planned: &mut Option<(u64, T)>) -> Option<T> {
    let (left, _) = planned.as_mut()?;
    *left -= 1;
    if *left > 0 {
        return None;
    }
    planned.take().map(|(_, what)| what)
}

/// How much of a file is in use: up to the last byte that is not zero; of a segment in the file of an
/// earlier one, up to the end of the last frame that is its own.
pub(crate) fn used(name: &str, content: &[u8]) -> usize {
    let is_used = |byte: &u8| *byte != 0;
    let used = content.iter().rposition(is_used).map_or(0, |at| at + 1);
    let head = content.get(..SEGMENT_HEAD_BYTES);
    let head = head.filter(|_| name.starts_with(WAL_DIR));
    match head.map(SegmentHead::decode) {
        Some(Ok((head, _))) if head.is_recycled => {
            let own = (SEGMENT_HEAD_BYTES..content.len()).step_by(FRAME_ALIGN);
            let mut ends = own.filter_map(|at| own_frame_end(head.seq, content, at));
            ends.next_back().unwrap_or(SEGMENT_HEAD_BYTES).min(used)
        }
        _ => used,
    }
}

/// Where the frame of segment `seq` ends that begins at `at`, if one does.
fn own_frame_end(seq: u64, content: &[u8], at: usize) -> Option<usize> {
    let bytes = &content[at..];
    if !bytes.starts_with(FRAME_MAGIC) {
        return None;
    }
    let frame = decode_frame_head(bytes).ok()?;
    let is_own = (frame.head.seq, frame.head.offset) == (seq, at as u64);
    is_own.then_some(at + frame.length() as usize)
}

/// A file's sector, with zeros behind the file's end.
fn sector(content: &[u8], at: usize) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    let end = (at + SECTOR_BYTES).min(content.len());
    if at < end {
        sector[..end - at].copy_from_slice(&content[at..end]);
    }
    sector
}

/// Puts a sector into a file as far as the file goes.
fn put(content: &mut [u8], at: usize, sector: &[u8; SECTOR_BYTES]) {
    let end = (at + SECTOR_BYTES).min(content.len());
    if at < end {
        content[at..end].copy_from_slice(&sector[..end - at]);
    }
}

impl SimDisk {
    /// The `n`-th next read (one is the next) fails.
    pub fn fail_read(&mut self, n: u64) {
        assert!(n > 0, "the next read is number one");
        self.lies.read_failure = Some((n, ()));
    }

    /// The `n`-th next read of anything in use brings other bytes than the disk holds, once:
    /// damaged as `kind` says, or too few.
    pub fn misread(&mut self, n: u64, kind: Rot, dice: Dice) {
        assert!(n > 0, "the next read is number one");
        self.lies.misread = Some((n, (kind, dice)));
        self.lies.misread_done = None;
    }

    /// The `n`-th next sync of a file that has anything to write makes all of it durable but for
    /// one sector, and says nothing.
    pub fn stray(&mut self, n: u64, stray: Stray) {
        assert!(n > 0, "the next sync is number one");
        self.lies.stray = Some((n, stray));
        self.lies.stray_done = None;
    }

    /// What was misread, if anything was since it was asked for or since the last look.
    pub fn take_misread(&mut self) -> Option<Damage> {
        self.lies.misread_done.take()
    }

    /// What became of the write that was not made, if it is so far.
    pub fn stray_done(&self) -> Option<&Damage> {
        self.lies.stray_done.as_ref()
    }

    /// Whether a power cut would show what the page cache hides.
    pub fn is_hiding(&self) -> bool {
        self.lies.hidden
    }

    /// What a read of these bytes brings.
    pub(super) fn tell(
        &mut self,
        name: &str,
        offset: usize,
        mut bytes: Vec<u8>,
    ) -> Result<Bytes, DiskError> {
        if due(&mut self.lies.read_failure).is_some() {
            let what = format!("read {name}: input/output error");
            return Err(refused(what, DiskErrorKind::Failed));
        }
        if self.lies.misread.is_none() {
            return Ok(bytes.into());
        }
        let used = used(name, &self.files[&self.names[name]].cache);
        let upto = used.min(offset + bytes.len());
        if upto <= offset {
            return Ok(bytes.into());
        }
        let Some((kind, mut dice)) = due(&mut self.lies.misread) else {
            return Ok(bytes.into());
        };
        let at = offset + dice.below((upto - offset) as u64) as usize;
        let start = at / SECTOR_BYTES * SECTOR_BYTES;
        let from = start.max(offset);
        let to = (start + SECTOR_BYTES).min(offset + bytes.len());
        let place = from - offset..to - offset;
        let done = match kind {
            Rot::Bits => {
                bytes[at - offset] ^= 1 << dice.below(8);
                Damage::new(name, at, false)
            }
            Rot::Cut => {
                bytes.truncate(at - offset);
                Damage::new(name, at, false)
            }
            Rot::Zeros => {
                bytes[place].fill(0);
                Damage::of_sector(name, start, used)
            }
            Rot::Astray => {
                let (other, other_at, _) = self.anywhere(&mut dice);
                let other = sector(&self.files[&self.names[&other]].cache, other_at);
                bytes[place].copy_from_slice(&other[from - start..to - start]);
                Damage::of_sector(name, start, used)
            }
        };
        self.lies.misread_done = Some(done);
        Ok(bytes.into())
    }

    /// A sector in use: its file, where, and how much of that file is in use.
    fn anywhere(&self, dice: &mut Dice) -> (String, usize, usize) {
        let files = self.names.iter();
        let files = files.map(|(name, file)| (name, used(name, &self.files[file].cache)));
        let files: Vec<_> = files.filter(|(_, used)| *used > 0).collect();
        let (name, used) = files[dice.below(files.len() as u64) as usize];
        let at = dice.below(used as u64) as usize / SECTOR_BYTES * SECTOR_BYTES;
        (name.clone(), at, used)
    }

    /// Syncs a file; a sector may stray.
    pub(super) fn sync_or_stray(&mut self, name: &str) {
        let file = self.file_mut(name);
        let changed = changed_sectors(file);
        let stray = if changed.is_empty() {
            None
        } else {
            due(&mut self.lies.stray)
        };
        let file = self.file_mut(name);
        let Some(Stray {
            lands,
            cached,
            mut dice,
        }) = stray
        else {
            return file.sync();
        };
        let at = changed[dice.below(changed.len() as u64) as usize];
        let old = sector(&file.durable, at);
        file.sync();
        let new = sector(&file.durable, at);
        put(&mut file.durable, at, &old);
        if !cached {
            put(&mut file.cache, at, &old);
        }
        let mut done = Damage::new(name, at, false);
        if lands {
            let (other, other_at, used) = self.anywhere(&mut dice);
            let file = self.file_mut(&other);
            put(&mut file.durable, other_at, &new);
            if !cached {
                put(&mut file.cache, other_at, &new);
            }
            done.takes_end = Damage::of_sector(&other, other_at, used).takes_end;
            done.place += &format!(" instead of {other} at {other_at}");
        }
        self.lies.hidden |= cached;
        self.lies.stray_done = Some(done);
    }
}

/// The sectors that a sync would change.
fn changed_sectors(file: &File) -> Vec<usize> {
    let sectors = file.unsynced.iter().filter_map(|change| match change {
        Change::Sector { at, .. } => Some(*at),
        Change::Extend(_) => None,
    });
    let sectors: BTreeSet<usize> = sectors.collect();
    let differs = |at: &usize| sector(&file.cache, *at) != sector(&file.durable, *at);
    sectors.into_iter().filter(differs).collect()
}
